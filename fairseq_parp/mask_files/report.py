"""The sparsity of a checkpoint: overall, per layer, per kind of module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.mask_files.counts import Count, Zeros
from fairseq_parp.mask_files.reading import pruned_names, saved_pruning, tensors_of
from fairseq_parp.sparsity.upgrade import find_state


@dataclass(frozen=True)
class SparsityReport:
    """The zeros of one checkpoint.

    Attributes:
        path: absolute path of the file.
        updates: number of updates of its training; None if the file does not state it.
        pruning: keys of the run (``task.pruning``); None for a model that this project did not train.
        run: the sparsity ``reached`` and ``asked``, and the key that ``ended`` the run (None while it continues); empty
            for other models and for checkpoints of earlier versions.
        model: all parameters and buffers of the model.
        zeros: zeros of the pruned set: the run's own scope, or the paper's.
        adapters: ``task.adapters`` as ``config``, the parameters that ``trained`` by kind, and the model's ``size``;
            empty for other models.
    """

    path: str
    updates: int | None
    pruning: dict[str, Any] | None
    run: dict[str, Any]
    model: Count
    zeros: Zeros
    adapters: dict[str, Any] = field(default_factory=dict)

    @property
    def prunable(self) -> Count:
        """The whole pruned set."""
        return self.zeros.overall

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        head = {"path": self.path, "updates": self.updates, "pruning": self.pruning, "run": self.run}
        head["adapters"] = self.adapters
        head["model"] = self.model.to_json()
        return head | self.zeros.to_json()


def report(path: str | Path) -> SparsityReport:
    """Count the zeros of a checkpoint. Needs neither fairseq nor the pretrained file.

    Raises:
        CheckpointError: the file cannot be read safely, or its model has none of the layers that PARP prunes.
    """
    state = checkpoints.read(path, with_fairseq=False)
    tensors = tensors_of(state)
    names = pruned_names(state, tensors)
    if not names:
        raise CheckpointError(absolute(path), "its model has no Transformer or conformer layer to report on")
    history = state.get("optimizer_history") or [{}]
    return SparsityReport(
        path=absolute(path),
        updates=history[-1].get("num_updates"),
        pruning=saved_pruning(state).get("config"),
        run=_run(state),
        adapters=dict((find_state(state.get("extra_state")) or {}).get("adapters") or {}),
        model=Count.sum(map(_count, tensors.values())),
        zeros=Zeros.of({name: _count(tensors[name]) for name in names}),
    )


def _run(state: Mapping[str, Any]) -> dict[str, Any]:
    saved = (find_state(state.get("extra_state")) or {}).get("run")
    known = saved if isinstance(saved, Mapping) else {}
    return {key: known[key] for key in ("reached", "asked", "ended") if key in known}


def _count(tensor: Tensor) -> Count:
    return Count(int((tensor == 0).sum()), tensor.numel())
