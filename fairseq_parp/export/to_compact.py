"""The target ``compact``: one safetensors file with masks and kept values, which this package reads as a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_parp.checkpoints import compact, read
from fairseq_parp.checkpoints.contents import TEXT
from fairseq_parp.export.audio import Batch
from fairseq_parp.export.source import Source
from fairseq_parp.files import write_whole
from fairseq_parp.mask_files.reading import pruned_names, saved_pruning
from fairseq_parp.sparsity.upgrade import find_state

FILE = "model.safetensors"

_HISTORY = ("criterion_name", "optimizer_name", "num_updates", "best_loss")


def write(source: Source, folder: Path) -> list[str]:
    """Write the file.

    Returns:
        the content of the checkpoint that the file lacks, one line each.
    """
    write_whole(folder / FILE, compact.encode(source.tensors, content_of(source.state, source.cfg, source.tensors)))
    return ["optimizer, random states and stashed values: training cannot be resumed from it"]


def content_of(state: Mapping[str, Any], cfg: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the plain values of a checkpoint that :func:`~fairseq_parp.checkpoints.reading.rebuilt` takes.

    Args:
        state: the checkpoint.
        cfg: its config.
        tensors: its model's.
    """
    task_state = state.get("task_state") or {}
    dictionary, text = task_state.get("target_dictionary"), task_state.get(TEXT)
    last = (state.get("optimizer_history") or [{}])[-1]
    adapters = (find_state(state.get("extra_state")) or {}).get("adapters") or {}
    symbols = zip(dictionary.symbols, dictionary.count, strict=True) if dictionary else ()
    return {
        "adapters": OmegaConf.to_container(OmegaConf.create(adapters)),
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "history": {key: last.get(key) for key in _HISTORY} | {"lr_scheduler_state": {}},
        "pruned": pruned_names(state, tensors),
        "pruning": dict(saved_pruning(state).get("config") or {}),
        "symbols": [list(each) for each in symbols],
        **({TEXT: dict(text)} if text else {}),
    }


def stored(_source: Source, folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the written file, by the checkpoint's names."""
    return dict(read(folder / FILE)["model"])


@torch.no_grad()
def outputs(_source: Source, folder: Path, batches: Sequence[Batch]) -> list[Tensor]:
    """Return the outputs of the written file's model."""
    written = Source.open(folder / FILE)
    return [written.outputs(batch.audio, batch.padding) for batch in batches]
