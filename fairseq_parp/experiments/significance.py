"""Tests whether two systems differ: t tests over the error rates of their training seeds.

A seed is one training: the unit that varies when a recipe is repeated. Two seeds of one recipe can differ by far more
than two draws of test utterances do, so a test over utterances alone calls equal systems different.

The test is paired where both systems were trained on the same data under the same recipe and the same seeds:
``common.seed`` determines the order of the batches, the random weights of the output layer, dropout, mask spans and
layerdrop, so the two error rates of a seed are not independent. Otherwise it is Welch's test.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from fairseq_parp.errors import ComparisonError

FEWEST_SEEDS = 3
"""Two seeds leave one degree of freedom: a paired difference would have to be 12.7 standard errors."""

LEVEL = 0.05
POWER = 0.8

SHARES = 400
"""Shares of the sum of squares at which the power of Welch's test is taken; more change it by less than 0.001."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TTest:
    """A two-sided t test for a difference of mean error rates.

    Attributes:
        p: probability of a difference at least as large between equal systems; not corrected.
        error: standard error of the difference, in percentage points.
        freedom: degrees of freedom.
        seeds: seeds of the paired systems, or of each of the two systems.
    """

    p: float
    error: float
    freedom: float
    seeds: tuple[int, ...]


def t_test(first: Sequence[float], second: Sequence[float], *, paired: bool) -> TTest | None:
    """Test two systems' error rates.

    Args:
        first, second: error rates in percent, one a seed; in the same order of seeds where they are ``paired``.
        paired: whether the seeds are shared, see above.

    Returns:
        None without a test: a system has fewer than three seeds, or the seeds have no spread.

    Raises:
        ComparisonError: a rate is no number.
    """
    if not np.isfinite([*first, *second]).all():
        raise ComparisonError(f"an error rate is not a number: {list(first)} and {list(second)}")
    if min(len(first), len(second)) < FEWEST_SEEDS:
        return None
    samples = [np.subtract(first, second)] if paired else [np.asarray(first), np.asarray(second)]
    error = math.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in samples))
    if error < 1e-9:  # points: rates that are equal but for rounding
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one system without spread is no fault
        found = stats.ttest_1samp(samples[0], 0) if paired else stats.ttest_ind(*samples, equal_var=False)
    return TTest(float(found.pvalue), error, float(found.df), tuple(len(sample) for sample in samples))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for their number (S. Holm, "A simple sequentially rejective multiple test procedure", 1979).

    For any true differences of the systems, the probability of a false verdict among all is at most the level with
    which the results are compared.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def smallest_difference(tests: Sequence[TTest]) -> float | None:
    """Return the true difference, in points, that each of these tests finds in 80 % of repetitions or more.

    The standard error is pooled over the tests (root of the mean square), the seeds are those of the weakest test, and
    the level is that of Holm's first step, 0.05 divided by the number of tests. None without tests.
    """
    if not tests:
        return None
    error = math.sqrt(sum(test.error**2 for test in tests) / len(tests))
    return error * max(_smallest_shift(seeds, LEVEL / len(tests)) for seeds in {test.seeds for test in tests})


def _smallest_shift(seeds: tuple[int, ...], level: float) -> float:
    """Return the true difference, in standard errors, that a test of this two-sided level finds in 80 %."""
    limits, freedom = _limits(seeds, level)

    def power(shift: float) -> float:
        return float(stats.nct.sf(limits, freedom, shift).mean())

    enough = 1.0
    while power(enough) < POWER:
        enough *= 2
    return float(optimize.brentq(lambda shift: power(shift) - POWER, 0, enough))


def _limits(seeds: tuple[int, ...], level: float) -> tuple[FloatArray, int]:
    """Return the limits of Student's t that a test works with, equally likely, and the degrees of freedom of that t.

    A paired test has one limit. Welch's test has another one for each ratio of the two samples' variances: the ratio
    decides its degrees of freedom and its standard error. The true variances are taken as equal. Then the share of the
    first sample in the sum of squares has a beta distribution, and is independent of that sum.
    """
    if len(seeds) == 1:
        return np.array([stats.t.isf(level / 2, seeds[0] - 1)]), seeds[0] - 1
    sizes = np.array(seeds)[:, None]
    first = stats.beta.ppf((np.arange(SHARES) + 0.5) / SHARES, *(sizes[:, 0] - 1) / 2)
    variances = np.stack([first, 1 - first]) / (sizes - 1) / sizes  # of the two means, as shares of the sum of squares
    freedom = variances.sum(0) ** 2 / (variances**2 / (sizes - 1)).sum(0)
    pooled = int(sizes.sum()) - 2
    ratio = variances.sum(0) * pooled / (1 / sizes).sum()  # of Welch's squared error to the pooled one
    return stats.t.isf(level / 2, freedom) * np.sqrt(ratio), pooled
