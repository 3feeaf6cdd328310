"""The labels of the features next to each code, and how pure the codes are by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SEED = 1
"""Of the shuffled labels."""


class CodeLabels(NamedTuple):
    """Labels of the codes.

    Attributes:
        counts: for each code, the number of its features with each label; codes without a label are left out.
        purity: percentage of the labelled features that have the most frequent label of their code.
        shuffled: the same after the labels were shuffled among the features.
    """

    counts: dict[int, Counter[str]]
    purity: float
    shuffled: float

    @property
    def features(self) -> int:
        """How many features have a label."""
        return sum(count.total() for count in self.counts.values())

    def best(self, code: int) -> tuple[str, float] | None:
        """Return the most frequent label of a code and its percentage; of equals, the first by name."""
        if code not in self.counts:
            return None
        count = self.counts[code]
        label = min(count, key=lambda name: (-count[name], name))
        return label, 100 * count[label] / count.total()


def code_labels(codes: Sequence[int], labels: Sequence[str | None]) -> CodeLabels:
    """Count the labels of the codes.

    Args:
        codes: the code next to each feature.
        labels: label of each feature, or None.

    Raises:
        ValueError: no feature has a label.

    >>> found = code_labels([0, 0, 0, 1, 1], ["dog", "dog", "cat", "cat", None])
    >>> found.purity, found.best(0)[0], found.best(1)
    (75.0, 'dog', ('cat', 100.0))
    """
    pairs = [(code, label) for code, label in zip(codes, labels, strict=True) if label is not None]
    if not pairs:
        raise ValueError("no feature has a label")
    counts = _counted(pairs)
    shuffled = np.random.default_rng(_SEED).permutation(len(pairs))
    others = _counted([(code, pairs[place][1]) for (code, _), place in zip(pairs, shuffled, strict=True)])
    return CodeLabels(counts, _purity(counts), _purity(others))


def _counted(pairs: Sequence[tuple[int, str]]) -> dict[int, Counter[str]]:
    counts: dict[int, Counter[str]] = {}
    for code, label in pairs:
        counts.setdefault(code, Counter())[label] += 1
    return counts


def _purity(counts: dict[int, Counter[str]]) -> float:
    total = sum(count.total() for count in counts.values())
    return 100 * sum(max(count.values()) for count in counts.values()) / total
