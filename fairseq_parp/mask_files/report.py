"""How sparse a checkpoint or a mask is: overall, per layer, per kind of module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.architectures import kind_of, layer_of
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.mask_files.reading import pruned_names, saved_pruning, tensors_of
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.upgrade import find_state


@dataclass(frozen=True)
class Count:
    """Zeros among weights."""

    zeros: int
    size: int

    @property
    def sparsity(self) -> float:
        """Fraction of zeros; 0 where there are no weights."""
        return self.zeros / max(1, self.size)

    def to_json(self) -> dict[str, float]:
        """Return plain values, the sparsity among them."""
        return {"zeros": self.zeros, "size": self.size, "sparsity": self.sparsity}


@dataclass(frozen=True)
class Zeros:
    """The zeros among the prunable weights.

    Attributes:
        overall: all of them.
        layers: by layer.
        kinds: by kind of module (``q_proj``, ``fc1``, ...).
    """

    overall: Count
    layers: dict[str, Count]
    kinds: dict[str, Count]

    @classmethod
    def of(cls, counts: Mapping[str, Count]) -> Zeros:
        """Add up counts by parameter name."""
        return cls(_add(counts.values()), _group(counts, layer_of), _group(counts, kind_of))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "prunable": self.overall.to_json(),
            "layers": {name: count.to_json() for name, count in self.layers.items()},
            "kinds": {name: count.to_json() for name, count in self.kinds.items()},
        }


@dataclass(frozen=True)
class SparsityReport:
    """The zeros of one checkpoint.

    Attributes:
        path: absolute path of the file.
        updates: updates it was trained for; None where the file does not state it.
        pruning: what the run was asked for (``task.pruning``); None for a model that this project did not train.
        run: the sparsity ``reached`` and ``asked``, and what ``ended`` the run (None where it goes on); empty for
            other models and for checkpoints of earlier versions.
        model: all parameters and buffers of the model.
        zeros: of the pruned set: the run's own scope, or the paper's.
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
        model=_add(map(_count, tensors.values())),
        zeros=Zeros.of({name: _count(tensors[name]) for name in names}),
    )


def _run(state: Mapping[str, Any]) -> dict[str, Any]:
    saved = (find_state(state.get("extra_state")) or {}).get("run")
    known = saved if isinstance(saved, Mapping) else {}
    return {key: known[key] for key in ("reached", "asked", "ended") if key in known}


def zeros_of(mask: MaskSet) -> Zeros:
    """Count the zeros of a mask."""
    return Zeros.of({name: Count(mask.zeros(name), mask.size(name)) for name in mask.bits})


def _count(tensor: Tensor) -> Count:
    return Count(int((tensor == 0).sum()), tensor.numel())


def _add(counts: Iterable[Count]) -> Count:
    every = list(counts)
    return Count(sum(count.zeros for count in every), sum(count.size for count in every))


def _group(counts: Mapping[str, Count], key: Callable[[str], str]) -> dict[str, Count]:
    members: dict[str, list[Count]] = {}
    for name, count in counts.items():
        members.setdefault(key(name), []).append(count)
    return {name: _add(group) for name, group in members.items()}
