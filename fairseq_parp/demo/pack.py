"""Packs a pretrained checkpoint: only the tensors that finetuning loads, in half precision."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from fairseq_parp.checkpoints import read
from fairseq_parp.files import write_whole

PRETRAINED = Path(__file__).with_name("pretrained.pt")
"""The packed checkpoint that the demos start from."""

_KEPT_SECTIONS = ("model", "task", "criterion", "optimization", "optimizer", "lr_scheduler", "dataset")


def pack(trained: Path, packed: Path) -> None:
    """Write ``trained`` to ``packed`` without optimizer state, run state and paths, weights as float16.

    fairseq loads the result like any pretrained checkpoint: its config and all its tensors are there.

    Raises:
        CheckpointError: ``trained`` cannot be read.
    """
    state = read(trained)
    config: dict[str, Any] = {name: state["cfg"][name] for name in _KEPT_SECTIONS}
    config["task"] = {**config["task"], "data": ""}
    history = [{**entry, "optimizer_name": "FairseqAdam"} for entry in state["optimizer_history"][-1:]]
    small = {
        "args": None,
        "cfg": config,
        "model": {name: tensor.half() for name, tensor in state["model"].items()},
        "optimizer_history": history,
        "extra_state": {"train_iterator": {"epoch": 1}},
    }
    content = io.BytesIO()
    torch.save(small, content)
    write_whole(packed, content.getvalue())
