"""Sparsity over updates."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Ramp:
    """Sparsity that rises linearly from ``start`` before the first update to ``end`` after update ``length``.

    ``r(u) = start + (end - start) * u / length``: update 0 is the untrained model, so the first mask has
    exactly ``start`` and a prune after the last update has exactly ``end``. PARP-P (paper, section 3.2)
    states the rise at each re-prune without this off-by-one; the rule is ours. ``start == end`` is constant.
    """

    start: Fraction
    end: Fraction
    length: int = 1

    def at(self, update: int) -> Fraction:
        """Return the sparsity of a prune after ``update`` updates."""
        return self.start + (self.end - self.start) * Fraction(min(update, self.length), self.length)


@dataclass(frozen=True)
class CubicRamp(Ramp):
    """Sparsity that rises fast at first and ever more slowly: the cubic ramp of gradual magnitude pruning.

    ``s(u) = end + (start - end) * (1 - u / length) ** 3`` (Zhu and Gupta 2017, equation 1, with t_0 = 0).
    """

    def at(self, update: int) -> Fraction:
        """Return the sparsity of a prune after ``update`` updates, exactly."""
        return self.end + (self.start - self.end) * (1 - Fraction(min(update, self.length), self.length)) ** 3


def constant(sparsity: Fraction) -> Ramp:
    """Return a schedule that stays at ``sparsity``."""
    return Ramp(sparsity, sparsity)
