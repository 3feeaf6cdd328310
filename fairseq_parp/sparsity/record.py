"""The record of a prune."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairseq_parp.sparsity.masks import MaskSet


@dataclass(frozen=True)
class PruneRecord:
    """Counts of one prune.

    Attributes:
        update: number of updates made before it.
        size: number of prunable weights.
        kept: number of weights that the mask keeps, by parameter name.
        churn: number of weights that the prune moved into or out of the mask.
        milliseconds: duration of the prune.
    """

    update: int
    size: int
    kept: Mapping[str, int] = field(repr=False)
    churn: int
    milliseconds: float

    @classmethod
    def of_change(cls, before: MaskSet | None, mask: MaskSet, update: int, start: float) -> PruneRecord:
        """Record the change from one mask to another that began at ``start``, by :func:`time.perf_counter`."""
        milliseconds = 1000 * (time.perf_counter() - start)
        kept = {name: mask.size(name) - mask.zeros(name) for name in mask.bits}
        return cls(update, mask.size(), kept, 0 if before is None else before.churn(mask), milliseconds)

    @property
    def zeros(self) -> int:
        """Number of weights that are zero."""
        return self.size - sum(self.kept.values())

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are zero, as counted."""
        return self.zeros / max(1, self.size)
