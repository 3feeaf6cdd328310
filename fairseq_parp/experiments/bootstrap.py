"""Whether two systems differ: a paired bootstrap over the utterances of a test set, seeds pooled.

Utterances are drawn with replacement, each with both systems' errors, so that what makes an utterance hard for both
cancels out (M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
ICASSP 2004). The interval tells of other utterances of the same kind; of other seeds it tells only what the pooled
ones show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.decoding.scoring import ErrorRate, Utterance
from fairseq_parp.errors import ComparisonError

DRAWS = 10_000
CONFIDENCE = 0.95
SEED = 1
"""Of the draws: the same result every time, and the same resamples whichever system comes first."""

_BLOCK = 500

Decoded = Mapping[int, Mapping[int, Utterance]]
"""What a system made of a test set: by training seed, by number of the utterance."""


@dataclass(frozen=True)
class Difference:
    """Error rate of the first system minus that of the second, in percentage points, with its 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``win`` or ``loss`` of the first system where the interval excludes zero, else ``tie``."""
        if self.high < 0:
            return "win"
        return "loss" if self.low > 0 else "tie"


@dataclass(frozen=True)
class Comparison:
    """Two systems on one test set; ``words`` is None where the symbols tell no words."""

    seeds: tuple[int, ...]
    units: Difference
    words: Difference | None


def compare(first: Decoded, second: Decoded) -> Comparison:
    """Compare two systems over the seeds that both have.

    Raises:
        ComparisonError: they have no seed in common, or were not decoded on the same utterances.
    """
    seeds = tuple(sorted(first.keys() & second.keys()))
    if not seeds:
        raise ComparisonError(f"no seed in common: {sorted(first)} and {sorted(second)}")
    systems = [[system[seed] for seed in seeds] for system in (first, second)]
    numbers = _same_utterances([run for system in systems for run in system])
    ours, theirs = ([[run[number] for run in system] for number in numbers] for system in systems)
    has_words = ours[0][0].words is not None
    return Comparison(seeds, _paired(ours, theirs, "units"), _paired(ours, theirs, "words") if has_words else None)


def difference(first: Sequence[int], second: Sequence[int], totals: Sequence[int]) -> Difference:
    """Estimate the difference of two error rates.

    Args:
        first, second: errors of the two systems in each utterance.
        totals: units (or words) of each utterance's reference, counted as often as the errors are.
    """
    more, reference = np.subtract(first, second, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    both = np.stack([more, reference], axis=1)
    drawn = np.concatenate([counts @ both for counts in _resamples(len(more))])
    drawn = drawn[drawn[:, 1] > 0]  # a draw of empty references alone has no rate
    rates = np.sort(100 * drawn[:, 0] / drawn[:, 1])
    # Order statistics, the same number from both ends: exchanging the systems negates the interval exactly.
    cut = int((1 - CONFIDENCE) / 2 * len(rates))
    return Difference(float(100 * more.sum() / reference.sum()), float(rates[cut]), float(rates[-1 - cut]))


def _resamples(size: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each of ``size`` utterances is in each resample, (draws, size), a block of draws at a time."""
    chance = np.random.default_rng(SEED)
    for _ in range(DRAWS // _BLOCK):
        chosen = chance.integers(size, size=(_BLOCK, size)) + size * np.arange(_BLOCK)[:, None]
        yield np.bincount(chosen.ravel(), minlength=_BLOCK * size).reshape(_BLOCK, size)


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


def _paired(ours: Sequence[Sequence[Utterance]], theirs: Sequence[Sequence[Utterance]], kind: str) -> Difference:
    (first, totals), (second, _) = _counts(ours, kind), _counts(theirs, kind)
    return difference(first, second, totals)


def _counts(utterances: Sequence[Sequence[Utterance]], kind: str) -> tuple[list[int], list[int]]:
    """Return errors and totals of each utterance, summed over the seeds."""
    rates = [sum((getattr(run, kind) for run in runs), start=ErrorRate(0, 0)) for runs in utterances]
    return [rate.errors for rate in rates], [rate.total for rate in rates]
