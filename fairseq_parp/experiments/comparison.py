"""Two systems on one test set: the difference of error rates, its t test over seeds, its interval over utterances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fairseq_parp.errors import ComparisonError
from fairseq_parp.experiments.significance import FEWEST_SEEDS, TTest, t_test
from fairseq_parp.scoring import ErrorRate, Utterance
from fairseq_parp.scoring.bootstrap import Numbers, utterance_interval

Decoded = Mapping[int, Mapping[int, Utterance]]
"""A system's results on a test set: by training seed, by number of the utterance."""


@dataclass(frozen=True)
class Difference:
    """Mean error rate of the first system minus that of the second.

    Attributes:
        points: percentage points.
        interval: 95 % interval over the utterances; None for a single utterance.
        test: t test over the seeds, or None.
    """

    points: float
    interval: tuple[float, float] | None
    test: TTest | None


@dataclass(frozen=True)
class Comparison:
    """Two systems on one test set.

    Attributes:
        seeds: seeds of the first system and of the second, in the order of the comparison.
        paired: whether the seeds are pairs.
        units: difference of UER.
        words: difference of WER; None without word boundaries.
    """

    seeds: tuple[tuple[int, ...], tuple[int, ...]]
    paired: bool
    units: Difference
    words: Difference | None


def compare(first: Decoded, second: Decoded, *, trained_alike: bool) -> Comparison:
    """Compare two systems.

    The seeds that both have are compared in pairs if there are at least three, or if a system has fewer than three and
    there is no test anyway. Otherwise all seeds of both are compared as independent samples.

    Args:
        first, second: the systems.
        trained_alike: whether one seed means the same data order and the same output layer in both: they were
            trained on the same data under the same recipe.

    Raises:
        ComparisonError: they were not decoded on the same utterances.
    """
    shared = sorted(first.keys() & second.keys()) if trained_alike else []
    paired = bool(shared) and (len(shared) >= FEWEST_SEEDS or min(len(first), len(second)) < FEWEST_SEEDS)
    seeds = [shared, shared] if paired else [sorted(first), sorted(second)]
    ours, theirs = ([system[seed] for seed in chosen] for system, chosen in zip((first, second), seeds, strict=True))
    numbers = _same_utterances([*ours, *theirs])
    has_words = ours[0][numbers[0]].words is not None
    units, *words = (
        _difference(_counts(ours, numbers, kind), _counts(theirs, numbers, kind), paired)
        for kind in ("units", "words")[: 1 + has_words]
    )
    return Comparison((tuple(seeds[0]), tuple(seeds[1])), paired, units, words[0] if words else None)


def _difference(first: tuple[Numbers, Numbers], second: tuple[Numbers, Numbers], paired: bool) -> Difference:
    """Return the difference of two systems, each given by its errors and the totals, (seeds, utterances)."""
    ours, theirs = (100 * errors.sum(axis=1) / totals.sum(axis=1) for errors, totals in (first, second))
    interval = utterance_interval(first[0].mean(axis=0), second[0].mean(axis=0), first[1][0])
    return Difference(float(ours.mean() - theirs.mean()), interval, t_test(ours, theirs, paired=paired))


def _counts(runs: Sequence[Mapping[int, Utterance]], numbers: Iterable[int], kind: str) -> tuple[Numbers, Numbers]:
    rates: list[list[ErrorRate]] = [[getattr(run[number], kind) for number in numbers] for run in runs]
    errors, totals = ([[getattr(rate, what) for rate in run] for run in rates] for what in ("errors", "total"))
    return np.array(errors), np.array(totals)


def _same_utterances(runs: Sequence[Mapping[int, Utterance]]) -> list[int]:
    """Return the utterances' numbers, which are the same in all runs, as are the references."""
    first = runs[0]
    for run in runs[1:]:
        other = sorted(first.keys() ^ run.keys())
        other += [number for number in first.keys() & run.keys() if first[number].reference != run[number].reference]
        if other:
            raise ComparisonError(f"{len(other)} utterance(s), such as {min(other)}, are not the same in both systems")
        if any((first[number].words is None) != (run[number].words is None) for number in first):
            raise ComparisonError("one system has words, the other has none")
    return sorted(first)
