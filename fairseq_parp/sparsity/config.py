"""The keys of ``task.pruning`` that every method has, their defaults and the values they allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.allocation import check_allocation
from fairseq_parp.sparsity.criteria import CRITERIA
from fairseq_parp.sparsity.structures import STRUCTURES

PREFIX = "task.pruning"


@dataclass(frozen=True)
class PruningConfig:
    """The scope, the sparsity and the times of pruning. A method's own class adds the method's own keys.

    Raises:
        ConfigError: a value is not allowed; the message names the key, the value and the allowed values.
    """

    method: str = "parp"
    """A registered method, see :mod:`fairseq_parp.sparsity.methods`."""

    sparsity: float = 0.5
    """Fraction of zeros within the scope, in [0, 1)."""

    interval: int | None = 50
    """Updates between two re-prunes; null never re-prunes. Methods that hold one mask do not read it."""

    scope: str | tuple[str, ...] = "paper"
    """``paper`` or ``ffn`` (see :mod:`fairseq_parp.sparsity.scope`), or exact names and regular expressions."""

    criterion: str = "magnitude"
    """Score of a weight: ``magnitude``, ``random`` or ``saliency`` (weight times gradient)."""

    structure: str = "element"
    """Unit of pruning: ``element`` is a single weight."""

    allocation: str | tuple[tuple[str, float], ...] = "global"
    """Division of the zeros: ``global`` (one threshold for the scope, as in the paper), ``layer``, ``tensor``,
    ``erk``, or a map of expressions to sparsities."""

    def __post_init__(self) -> None:
        self._fraction("sparsity")
        if self.interval is not None and (not _is_int(self.interval) or self.interval < 1):
            raise self._error("interval", "must be a whole number of updates >= 1, or null for never")
        if not _is_scope(self.scope):
            raise self._error("scope", "must be 'paper', 'ffn', or a list of names and regular expressions")
        _ = CRITERIA[self.criterion], STRUCTURES[self.structure]
        check_allocation(self.allocation, self.sparsity)

    @classmethod
    def names(cls) -> list[str]:
        """Return the keys of this method's config."""
        return [field.name for field in fields(cls)]

    @classmethod
    def can_be_null(cls, key: str) -> bool:
        """Return whether this method's config has the key, and null has a meaning there."""
        return any(field.name == key and "None" in str(field.type) for field in fields(cls))

    def identity(self) -> dict[str, Any]:
        """Return the values that a resumed run must share with the run that it continues."""
        return asdict(self)

    def _error(self, key: str, allowed: str) -> ConfigError:
        return ConfigError(f"{PREFIX}.{key}", getattr(self, key), allowed)

    def _fraction(self, key: str) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise self._error(key, "must be a number in [0, 1)")


@dataclass(frozen=True)
class MaskConfig(PruningConfig):
    """The keys of a method that can start from a mask file."""

    mask: str | None = None
    """Mask file, or sparse checkpoint, to start from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask is not None and not isinstance(self.mask, str):
            raise self._error("mask", "must be the path of a mask file, or null")

    def identity(self) -> dict[str, Any]:
        """Return the values that a resumed run must share, without the mask file: the run has its mask already."""
        values = super().identity()
        del values["mask"]
        return values


@dataclass(frozen=True)
class EndConfig(PruningConfig):
    """The keys of a method whose mask stops changing before the run ends."""

    end_update: int | None = None
    """Update after which the mask stays, or at which a ramp reaches ``sparsity``; null: three quarters of the run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_update is not None and (not _is_int(self.end_update) or self.end_update < 1):
            raise self._error("end_update", "must be an update >= 1, or null for three quarters of the run")

    def identity(self) -> dict[str, Any]:
        """Return the values that a resumed run must share, without the end: null depends on the length of the run."""
        values = super().identity()
        del values["end_update"]
        return values


def frozen(value: Any) -> Any:
    """Return a value of YAML or of a checkpoint with tuples in place of lists and mappings, to keep and to compare."""
    if isinstance(value, Mapping):
        return tuple((str(key), frozen(each)) for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(frozen, value))
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_scope(value: object) -> bool:
    return bool(value) and isinstance(value, (str, tuple)) and all(isinstance(entry, str) for entry in value)
