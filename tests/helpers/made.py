"""Parts of a tiny base by fairseq's own trainings, one a method that leaves the base's matrices alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tiny
import torch
from in_process import speech, train

TRAINED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "s3_router": ({"kind": "head_only"}, {"method": "s3_router", "sparsity": 0.3}),
    "mpi": ({"kind": "head_only"}, {"method": "mpi", "sparsity": 0.5}),
    "bottleneck": ({"kind": "bottleneck", "width": 4, "layers": 2}, {"method": "dense"}),
    "lora": ({"kind": "lora", "rank": 2, "maps": ["q", "v", "fc2"]}, {"method": "dense"}),
    "bitfit": ({"kind": "bitfit"}, {"method": "dense"}),
    "head_only": ({"kind": "head_only"}, {"method": "dense"}),
    "mask and adapters": ({"kind": "bottleneck", "width": 4}, {"method": "mpi", "sparsity": 0.5}),
}
"""Keys of ``task.adapters`` and of ``task.pruning``."""

METHODS = {
    "s3_router": "mask+head",
    "mpi": "mask+head",
    "bottleneck": "adapters+vectors+head",
    "lora": "lora+head",
    "bitfit": "vectors+head",
    "head_only": "head",
    "mask and adapters": "mask+adapters+vectors+head",
}

CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "full": ({"kind": "full"}, {"method": "dense"}),
    "top_n": ({"kind": "top_n", "layers": 1}, {"method": "dense"}),
    "parp": ({"kind": "full"}, {"method": "parp", "sparsity": 0.5, "interval": 2}),
    "base trained": ({"kind": "bottleneck", "width": 4, "base": "trained"}, {"method": "dense"}),
}
"""Trainings that change matrices of the base."""


def checkpoints(folder: Path, trainings: dict[str, Any], base: Path) -> dict[str, Path]:
    """Train each, and save it with a head that spells many letters, so that texts differ."""
    data = tiny.make_corpus(folder / "data", {"train": 9, "valid": 3, "test": 4})
    made = {}
    for name, (adapters, pruning) in trainings.items():
        recipe = speech(data, base)
        recipe["task"] |= {"adapters": adapters}
        recipe["optimization"] |= {"max_update": 3}
        train(recipe, folder / name, **pruning)
        made[name] = strengthened(folder / name / "checkpoint_last.pt", len(made))
    return made


def strengthened(file: Path, seed: int) -> Path:
    state = torch.load(file, weights_only=False)
    chance = torch.Generator().manual_seed(seed)
    for name, value in state["model"].items():
        if re.search(r"\.(adapter\.up\.weight|lora\.up)$|encoder\.proj\.weight", name):
            value.copy_(torch.randn(value.shape, generator=chance))
    state["model"]["w2v_encoder.proj.bias"][:4] = -100  # the blank and symbols that no text has
    torch.save(state, file)
    return file
