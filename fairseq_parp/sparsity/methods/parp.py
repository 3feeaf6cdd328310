"""``parp`` and ``parp_p``: prune, adjust, re-prune (Lai et al. 2021, section 3).

The zeros of the first mask are ordinary weights: they have gradients and can become nonzero again. Every ``interval``
updates the smallest weights are zeroed anew. A re-prune discards the values that it zeroes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from fairseq_parp.errors import ConfigError, ResumeError
from fairseq_parp.sparsity.config import PREFIX, MaskConfig
from fairseq_parp.sparsity.counting import exact
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods.base import Facts, Method, is_time
from fairseq_parp.sparsity.schedule import Ramp

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights

DEFAULT_RISE = Fraction(1, 5)


class Parp(Method):
    """PARP at one sparsity."""

    facts = Facts("PARP", "#0072B2", "o", reprunes=True, frozen_by_scripts=False)
    config_class = MaskConfig
    config: MaskConfig

    def prepare(self, pruned: PrunedWeights) -> None:
        """Read the mask to start from, where one is named."""
        self._first: MaskSet | None = pruned.read_mask(self.config.mask)

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Zero the weights that the given mask drops, then compute the first mask."""
        if self._first is not None:
            pruned.apply(self._first)
        pruned.prune(update)

    def after_step(self, pruned: PrunedWeights, update: int) -> None:
        """Re-prune if it is time."""
        if is_time(update, self.config.interval, self.last_update):
            pruned.prune(update)

    def show_sparse(self, pruned: PrunedWeights, update: int | None) -> None:
        """Prune the present weights, and stash the zeroed values."""
        pruned.stash(update)

    def show_trained(self, pruned: PrunedWeights) -> None:
        """Restore the stashed weights."""
        pruned.restore()


@dataclass(frozen=True)
class ParpPConfig(MaskConfig):
    """The keys of ``parp_p``."""

    start_sparsity: float | None = None
    """Sparsity of the first mask. Null means max(0, sparsity - 0.2), a default of ours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval is None:
            raise self._error("interval", "parp_p raises its sparsity at re-prunes; give a number")
        if self.start_sparsity is None:
            return
        self._fraction("start_sparsity")
        if self.start_sparsity > self.sparsity:
            raise self._error("start_sparsity", f"must not exceed {PREFIX}.sparsity={self.sparsity}")


class ParpP(Parp):
    """PARP whose sparsity rises linearly over the run."""

    facts = Facts("PARP-P", "#56B4E9", "s", reprunes=True, frozen_by_scripts=False)
    config_class = ParpPConfig
    config: ParpPConfig

    def make_schedule(self) -> Ramp:
        """Return the ramp, which ends with the run.

        Raises:
            ConfigError: the end of the run is not known.
        """
        if self.last_update is None:
            raise ConfigError("optimization.max_update", None, "parp_p needs it: the sparsity ramp ends there")
        end, start = exact(self.config.sparsity), self.config.start_sparsity
        first = max(Fraction(0), end - DEFAULT_RISE) if start is None else exact(start)
        return Ramp(first, end, self.last_update)

    def state_dict(self) -> dict[str, Any]:
        """Return where the ramp ends."""
        return {"ramp_end": self.last_update}

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:  # noqa: ARG002
        """Check that the ramp ends where it did.

        Raises:
            ResumeError: it ends elsewhere.
        """
        if state["ramp_end"] != self.last_update:
            raise ResumeError("optimization.max_update (where parp_p's ramp ends)", state["ramp_end"], self.last_update)
