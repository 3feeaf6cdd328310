"""Accuracy: the fraction of correct labels, and its confidence interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.95
"""Confidence level of the interval."""


class Accuracy(NamedTuple):
    """How many labels are right.

    >>> Accuracy(45, 50).interval()
    (0.786..., 0.956...)
    """

    correct: int
    total: int

    @property
    def value(self) -> float:
        """The fraction, within 0 to 1."""
        return self.correct / self.total

    def interval(self) -> tuple[float, float]:
        """Return Wilson's interval of the binomial proportion at ``LEVEL``: it takes the examples as independent."""
        from scipy.stats import binomtest  # half a second

        low, high = binomtest(self.correct, self.total).proportion_ci(LEVEL, method="wilson")
        return float(low), float(high)


def accuracy_of(true: Sequence[str], found: Sequence[str]) -> Accuracy:
    """Return how many of the found labels are the true ones."""
    return Accuracy(sum(one == other for one, other in zip(true, found, strict=True)), len(true))


def commonest(true: Sequence[str]) -> Accuracy:
    """Return the accuracy of a model that always gives the most frequent label."""
    return Accuracy(Counter(true).most_common(1)[0][1], len(true))
