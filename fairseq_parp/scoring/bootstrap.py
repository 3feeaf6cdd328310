"""A paired bootstrap interval: the effect of the choice of test utterances on a difference of error rates.

Utterances are drawn with replacement, each with both systems' errors, so the difficulty of an utterance for both
cancels out (M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
ICASSP 2004). The interval is shown and decides nothing: it does not contain the effect of another training seed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 10_000
CONFIDENCE = 0.95
SEED = 1
"""Of the draws: the same interval every time."""

_BATCH = 500
"""Resamples that are in memory at once."""

Numbers = NDArray[Any]


def utterance_interval(first: Numbers, second: Numbers, totals: Sequence[int]) -> tuple[float, float] | None:
    """Return the 95 % interval of the difference of two error rates over other utterances, in percentage points.

    Args:
        first, second: each system's errors in each utterance, (utterances,); the means over several seeds.
        totals: units (or words) of each utterance's reference.

    Returns:
        None for a single utterance.
    """
    if len(totals) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of resamples without a rate, which are left out below
        found = stats.bootstrap(
            (np.subtract(first, second), np.asarray(totals)), _rate,
            paired=True, vectorized=True, method="percentile",
            n_resamples=DRAWS, batch=_BATCH, confidence_level=CONFIDENCE, random_state=np.random.default_rng(SEED),
        )  # fmt: skip
    beyond = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(found.bootstrap_distribution, [beyond, 1 - beyond])
    return float(low), float(high)


def _rate(errors: Numbers, totals: Numbers, axis: int) -> Numbers:
    """Return the error rates of resamples in percent; NaN for one of empty references alone."""
    total = totals.sum(axis)
    return np.asarray(100 * errors.sum(axis) / np.where(total > 0, total, np.nan))
