"""The pruning methods: how sparse, when to re-prune, free or fixed in between.

A method is a few answers. A new one is an entry in :data:`METHODS`; nothing else has to know its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.counting import exact
from fairseq_parp.sparsity.schedule import Ramp, constant

if TYPE_CHECKING:
    from fairseq_parp.sparsity.config import PruningConfig

DEFAULT_RISE = Fraction(1, 5)


@dataclass(frozen=True)
class Method:
    """One pruning method, bound to a run.

    Attributes:
        schedule: sparsity of a prune after so many updates.
        interval: updates between two re-prunes; None never re-prunes.
        last_update: update after which the run ends, if it is known: the mask is taken anew there.
        held: the first mask's zeros stay zero: they get no gradient, and no optimizer moves them.
        fresh: the first mask is that of a freshly initialised model of the same shape.
    """

    schedule: Ramp
    interval: int | None
    last_update: int | None = None
    held: bool = False
    fresh: bool = False

    def reprunes_after(self, update: int) -> bool:
        """Tell whether weights are re-pruned after ``update`` updates (1 is the first).

        That is after every multiple of the interval, and after the last update whatever the interval,
        so that the model a run ends with is the sparse one.
        """
        if self.interval is None:
            return False
        return update % self.interval == 0 or update == self.last_update


def _dense(config: PruningConfig, last_update: int | None) -> Method:
    _refuse_mask(config, "prunes nothing")
    return Method(constant(Fraction(0)), None, last_update)


def _parp(config: PruningConfig, last_update: int | None) -> Method:
    return Method(constant(exact(config.sparsity)), config.interval, last_update)


def _parp_p(config: PruningConfig, last_update: int | None) -> Method:
    if last_update is None:
        raise ConfigError("optimization.max_update", None, "parp_p needs it: the sparsity ramp ends there")
    if config.interval is None:
        raise ConfigError("task.pruning.interval", None, "parp_p raises its sparsity at re-prunes; give a number")
    end = exact(config.sparsity)
    start = max(Fraction(0), end - DEFAULT_RISE) if config.start_sparsity is None else exact(config.start_sparsity)
    return Method(Ramp(start, end, last_update), config.interval, last_update)


def _mpi(config: PruningConfig, last_update: int | None) -> Method:
    _refuse_mask(config, "takes the magnitude mask of the initial weights")
    return _held(config, last_update)


def _rp(config: PruningConfig, last_update: int | None) -> Method:
    _refuse_mask(config, "takes the mask of a freshly initialised model")
    return replace(_held(config, last_update), fresh=True)


def _fixed(config: PruningConfig, last_update: int | None) -> Method:
    if config.mask is None:
        raise ConfigError("task.pruning.mask", None, "method fixed needs it: the mask file, or a sparse checkpoint")
    return _held(config, last_update)


def _held(config: PruningConfig, last_update: int | None) -> Method:
    return Method(constant(exact(config.sparsity)), None, last_update, held=True)


def _refuse_mask(config: PruningConfig, what: str) -> None:
    if config.mask is not None:
        allowed = f"method {config.method} {what}; leave it null, or use method fixed or parp"
        raise ConfigError("task.pruning.mask", config.mask, allowed)


METHODS: dict[str, Callable[[PruningConfig, int | None], Method]] = {
    "dense": _dense,
    "parp": _parp,
    "parp_p": _parp_p,
    "mpi": _mpi,
    "rp": _rp,
    "fixed": _fixed,
}


def build_method(config: PruningConfig, last_update: int | None) -> Method:
    """Return the method that ``config`` names, for a run that ends after ``last_update`` updates (None: unknown).

    Raises:
        ConfigError: the method needs something that the run does not give.
    """
    return METHODS[config.method](config, last_update)
