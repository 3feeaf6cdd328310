"""The keys of ``task.pruning``, their defaults and the values they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairseq_parp.errors import ConfigError, unknown_key
from fairseq_parp.sparsity.methods import METHODS
from fairseq_parp.sparsity.scope import GRANULARITIES

PREFIX = "task.pruning"


@dataclass(frozen=True)
class PruningConfig:
    """What is pruned, how far, when and by which method. Every key has a default.

    Raises:
        ConfigError: a value is not allowed; the message names the key, the value and what is allowed.
    """

    method: str = "parp"
    """``dense`` (nothing is pruned), ``parp``, ``parp_p`` (sparsity rises over the run); or a mask that is held:
    ``mpi`` (magnitude of the initial weights), ``rp`` (of a freshly initialised model), ``fixed`` (a mask file)."""

    sparsity: float = 0.5
    """Fraction of zeros within the scope, in [0, 1)."""

    interval: int | None = 50
    """Updates between two re-prunes; null never re-prunes."""

    start_sparsity: float | None = None
    """``parp_p`` only: sparsity of the first mask. Null means max(0, sparsity - 0.2), a default of ours."""

    scope: str | tuple[str, ...] = "paper"
    """``paper`` (see :mod:`fairseq_parp.sparsity.scope`), or exact parameter names and regular expressions."""

    granularity: str = "global"
    """What shares one threshold: ``global`` (all of the scope, as in the paper), ``layer`` or ``tensor``."""

    mask: str | None = None
    """``parp``, ``parp_p``, ``fixed``: mask file, or sparse checkpoint, to start from instead of the initial weights'
    magnitudes; ``fixed`` keeps it."""

    def __post_init__(self) -> None:
        self._choice("method", sorted(METHODS))
        self._choice("granularity", sorted(GRANULARITIES))
        self._fraction("sparsity")
        if self.interval is not None and (not _is_int(self.interval) or self.interval < 1):
            raise self._error("interval", "must be a whole number of updates >= 1, or null for never")
        if not _is_scope(self.scope):
            raise self._error("scope", "must be 'paper', or a list of parameter names and regular expressions")
        if self.mask is not None and not isinstance(self.mask, str):
            raise self._error("mask", "must be the path of a mask file, or null")
        self._check_start()

    @classmethod
    def read(cls, raw: Mapping[str, Any] | None) -> PruningConfig:
        """Make a config from the raw keys of a YAML file or command line; None means all defaults."""
        if raw is None:
            return cls()
        if not isinstance(raw, Mapping):
            raise ConfigError(PREFIX, raw, f"must be a mapping with keys among {', '.join(KEYS)}")
        for key in raw:
            if key not in KEYS:
                raise unknown_key(f"{PREFIX}.{key}", raw[key], str(key), KEYS)
        values = dict(raw)
        if isinstance(values.get("scope"), (list, tuple)):
            values["scope"] = tuple(values["scope"])
        return cls(**values)

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must share with the run it continues.

        The mask file is left out: a resumed run has its mask already, wherever the file is now.
        """
        values = asdict(self)
        del values["mask"]
        return values

    def _error(self, key: str, allowed: str) -> ConfigError:
        return ConfigError(f"{PREFIX}.{key}", getattr(self, key), allowed)

    def _choice(self, key: str, allowed: list[str]) -> None:
        if getattr(self, key) not in allowed:
            raise self._error(key, f"must be one of {', '.join(allowed)}")

    def _fraction(self, key: str) -> None:
        value = getattr(self, key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise self._error(key, "must be a number in [0, 1)")

    def _check_start(self) -> None:
        if self.start_sparsity is None:
            return
        if self.method != "parp_p":
            raise self._error("start_sparsity", f"is for method parp_p, not {self.method}; leave it null")
        self._fraction("start_sparsity")
        if self.start_sparsity > self.sparsity:
            raise self._error("start_sparsity", f"must not exceed {PREFIX}.sparsity={self.sparsity}")


KEYS = [field.name for field in fields(PruningConfig)]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_scope(value: object) -> bool:
    return bool(value) and isinstance(value, (str, tuple)) and all(isinstance(entry, str) for entry in value)
