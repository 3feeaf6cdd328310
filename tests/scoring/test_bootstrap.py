"""The displayed interval: a bootstrap over utterances, on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from fairseq_parp.scoring.bootstrap import utterance_interval

CHANCE = np.random.default_rng(7)
TOTALS = [int(total) for total in CHANCE.integers(5, 40, size=117)]


def test_a_system_does_not_differ_from_itself() -> None:
    errors = CHANCE.integers(0, 10, size=117)
    assert utterance_interval(errors, errors, TOTALS) == (0, 0)


def test_exchanged_systems_negate_and_a_repetition_is_the_same() -> None:
    first, second = CHANCE.integers(0, 12, size=(2, 117))
    one, other = utterance_interval(first, second, TOTALS), utterance_interval(second, first, TOTALS)
    assert one
    assert other
    assert one == pytest.approx((-other[1], -other[0]))
    assert one == utterance_interval(first, second, TOTALS)


def test_the_interval_is_that_of_the_analytic_standard_error() -> None:
    size, length = 400, 25
    first, second = CHANCE.binomial(length, 0.30, size=size), CHANCE.binomial(length, 0.32, size=size)
    points, error = 100 * (first - second).mean() / length, 100 * (first - second).std() / length / size**0.5
    found = utterance_interval(first, second, [length] * size)
    assert found == pytest.approx((points - 1.96 * error, points + 1.96 * error), abs=0.1 * error)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    holds = 0
    for _ in range(100):
        hard = CHANCE.beta(2, 4, size=80)  # what makes an utterance hard is the same for both systems
        first, second = (CHANCE.binomial(20, np.clip(hard + more, 0, 1)) for more in (0.0, 0.03))
        # the mean of the difference is that of the clipped chances; clipping is rare here
        found = utterance_interval(second, first, [20] * 80)
        assert found
        holds += found[0] <= 3.0 <= found[1]
    assert 88 <= holds <= 100


def test_references_that_are_empty_and_single_utterances() -> None:
    found = utterance_interval(np.array([1, 0, 3]), np.array([0, 0, 3]), [0, 0, 4])
    assert found is not None
    assert np.isfinite(found).all()
    assert utterance_interval(np.array([3]), np.array([2]), [4]) is None
