"""``gmp``: gradual magnitude pruning (Zhu and Gupta 2017, "To prune, or not to prune", section 3).

The sparsity rises from ``start_sparsity`` to ``sparsity`` along a cubic curve. Between two prunes the zeros are held:
they get no gradient. Once zero, a weight stays zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairseq_parp.sparsity.config import PREFIX, EndConfig
from fairseq_parp.sparsity.counting import exact
from fairseq_parp.sparsity.methods.base import Facts, is_time
from fairseq_parp.sparsity.methods.ending import Ending
from fairseq_parp.sparsity.schedule import CubicRamp

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


@dataclass(frozen=True)
class GmpConfig(EndConfig):
    """The keys of ``gmp``."""

    start_sparsity: float = 0.0
    """Sparsity of the first mask, s_i in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("start_sparsity")
        if self.start_sparsity > self.sparsity:
            raise self._error("start_sparsity", f"must not exceed {PREFIX}.sparsity={self.sparsity}")
        if self.interval is None:
            raise self._error("interval", "gmp raises its sparsity at prunes; give a number")


class Gmp(Ending):
    """Gradual magnitude pruning."""

    facts = Facts("GMP", "#332288", "p", reprunes=True, frozen_by_scripts=False)
    config_class = GmpConfig
    config: GmpConfig

    def make_schedule(self) -> CubicRamp:
        """Return the cubic ramp."""
        return CubicRamp(exact(self.config.start_sparsity), exact(self.config.sparsity), self.end)

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Take the first mask."""
        pruned.prune(update)

    def after_backward(self, pruned: PrunedWeights) -> None:
        """Zero the gradients of the zeros."""
        if pruned.target:
            pruned.mask_gradients()

    def after_step(self, pruned: PrunedWeights, update: int) -> None:
        """Hold the zeros; prune if it is time, or if the ramp ends."""
        if pruned.target and pruned.mask is not None:
            pruned.apply(pruned.mask)
        if is_time(update, self.config.interval, self.last_update) or update == self.end:
            pruned.prune(update)
