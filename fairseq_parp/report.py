"""How sparse a checkpoint is, from the file alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.sparsity.scope import in_paper_scope, kind_of, layer_of


@dataclass(frozen=True)
class Count:
    """Zeros among weights."""

    zeros: int
    size: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros; 0 where there are no weights."""
        return self.zeros / max(1, self.size)


@dataclass(frozen=True)
class Report:
    """The zeros of one checkpoint.

    Attributes:
        path: absolute path of the file.
        updates: updates it was trained for; None where the file does not say.
        pruning: what the run was asked for (``task.pruning``); None for a model that this project did not train.
        model: all parameters and buffers of the model.
        prunable: the pruned set: the run's own scope, or the paper's.
        layers: by layer, within the pruned set.
        kinds: by kind of module (``q_proj``, ``fc1``, ...), within the pruned set.
    """

    path: str
    updates: int | None
    pruning: dict[str, Any] | None
    model: Count
    prunable: Count
    layers: dict[str, Count]
    kinds: dict[str, Count]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values; every count carries its sparsity."""
        plain = asdict(self)
        for name in ("model", "prunable"):
            plain[name]["sparsity"] = getattr(self, name).sparsity
        for name in ("layers", "kinds"):
            for key, count in getattr(self, name).items():
                plain[name][key]["sparsity"] = count.sparsity
        return plain


def report(path: str | Path) -> Report:
    """Count the zeros of a checkpoint. Needs neither fairseq nor the pretrained file.

    Raises:
        CheckpointError: the file cannot be read safely, or its model has none of the layers that PARP prunes.
    """
    state = checkpoints.read(path, with_fairseq=False)
    tensors = {name: value for name, value in state["model"].items() if isinstance(value, torch.Tensor)}
    saved = _saved_pruning(state)
    names = [name for name in (saved.get("mask") or in_paper_scope(tensors)) if name in tensors]
    if not names:
        raise CheckpointError(absolute(path), "its model has no Transformer or conformer layer to report on")
    counts = {name: _count([tensors[name]]) for name in names}
    history = state.get("optimizer_history") or [{}]
    return Report(
        path=absolute(path),
        updates=history[-1].get("num_updates"),
        pruning=saved.get("config"),
        model=_count(tensors.values()),
        prunable=_add(counts.values()),
        layers=_group(counts, layer_of),
        kinds=_group(counts, kind_of),
    )


def _saved_pruning(state: Mapping[str, Any]) -> Mapping[str, Any]:
    task = (state.get("extra_state") or {}).get("ParpFinetuningTask") or {}
    pruning: Mapping[str, Any] = task.get("pruning") or {}
    return pruning


def _count(tensors: Any) -> Count:
    return _add(Count(int((tensor == 0).sum()), tensor.numel()) for tensor in tensors)


def _add(counts: Any) -> Count:
    every = list(counts)
    return Count(sum(count.zeros for count in every), sum(count.size for count in every))


def _group(counts: Mapping[str, Count], key: Callable[[str], str]) -> dict[str, Count]:
    members: dict[str, list[Count]] = {}
    for name, count in counts.items():
        members.setdefault(key(name), []).append(count)
    return {name: _add(group) for name, group in members.items()}
