"""What a prune did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PruneRecord:
    """What the last prune did; ``kept`` are the weights left, by parameter."""

    update: int
    size: int
    kept: Mapping[str, int]
    churn: int
    milliseconds: float

    @property
    def zeros(self) -> int:
        """Number of weights that are zero."""
        return self.size - sum(self.kept.values())

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are zero, as counted."""
        return self.zeros / max(1, self.size)
