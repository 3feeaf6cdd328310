"""The paired bootstrap on cases whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fairseq_parp.decoding.scoring import ErrorRate, Utterance
from fairseq_parp.errors import ComparisonError
from fairseq_parp.experiments.bootstrap import Difference, compare, difference

CHANCE = np.random.default_rng(7)
TOTALS = CHANCE.integers(5, 40, size=117)


def decoded(errors: Sequence[int], totals: Sequence[int] = TOTALS) -> dict[int, Utterance]:  # type: ignore[assignment]
    rates = [ErrorRate(int(count), int(total)) for count, total in zip(errors, totals, strict=True)]
    return {n: Utterance(tuple("A" * rate.total), rate, ErrorRate(rate.errors, 50)) for n, rate in enumerate(rates)}


def width(found: Difference) -> float:
    return found.high - found.low


def test_a_system_ties_with_itself_exactly() -> None:
    errors = CHANCE.integers(0, 10, size=117)
    found = difference(errors, errors, TOTALS)
    assert (found.points, found.low, found.high, found.verdict) == (0, 0, 0, "tie")


def test_better_on_every_utterance_wins() -> None:
    errors = CHANCE.integers(1, 6, size=117)
    found = difference(errors - 1, errors, TOTALS)
    assert found.points == pytest.approx(-100 * 117 / TOTALS.sum())
    assert found.low < found.points < found.high < 0
    assert found.verdict == "win"
    assert difference(errors, errors - 1, TOTALS).verdict == "loss"


def test_differences_that_cancel_out_tie() -> None:
    errors = np.array([2, 4] * 30)
    found = difference(errors, errors[::-1], [20] * 60)
    assert found.points == 0
    assert found.low < 0 < found.high
    assert found.low == pytest.approx(-found.high, abs=0.6)
    assert found.verdict == "tie"


def test_exchanged_systems_negate_exactly() -> None:
    first, second = CHANCE.integers(0, 12, size=(2, 117))
    one, other = difference(first, second, TOTALS), difference(second, first, TOTALS)
    assert (one.points, one.low, one.high) == (-other.points, -other.high, -other.low)
    assert one == difference(first, second, TOTALS)


def test_the_interval_is_that_of_the_analytic_standard_error() -> None:
    size, length = 400, 25
    first, second = CHANCE.binomial(length, 0.30, size=size), CHANCE.binomial(length, 0.32, size=size)
    found = difference(first, second, [length] * size)
    standard_error = 100 * (first - second).std() / length / size**0.5
    assert found.low == pytest.approx(found.points - 1.96 * standard_error, abs=0.1 * standard_error)
    assert found.high == pytest.approx(found.points + 1.96 * standard_error, abs=0.1 * standard_error)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    holds = 0
    for _ in range(100):
        hard = CHANCE.beta(2, 4, size=80)  # what makes an utterance hard is the same for both systems
        first, second = (CHANCE.binomial(20, np.clip(hard + more, 0, 1)) for more in (0.0, 0.03))
        # the mean of the difference is that of the clipped chances; clipping is rare here
        found = difference(second, first, [20] * 80)
        holds += found.low <= 3.0 <= found.high
    assert 88 <= holds <= 100


def test_pooled_seeds_narrow_the_interval() -> None:
    first, second = CHANCE.integers(0, 8, size=(2, 4, 117))
    one = compare({1: decoded(first[0])}, {1: decoded(second[0])})
    four = compare(
        {seed: decoded(first[seed]) for seed in range(4)}, {seed: decoded(second[seed]) for seed in range(4)}
    )
    assert (one.seeds, four.seeds) == ((1,), (0, 1, 2, 3))
    assert width(four.units) < 0.7 * width(one.units)
    total = 100 * (first.sum() - second.sum()) / (4 * TOTALS.sum())
    assert four.units.points == pytest.approx(total)
    assert four.words
    assert four.words.points == pytest.approx(100 * (first.sum() - second.sum()) / (4 * 50 * 117))


def test_only_seeds_that_both_have_are_pooled() -> None:
    a, b, c = CHANCE.integers(0, 8, size=(3, 117))
    found = compare({1: decoded(a), 2: decoded(b)}, {2: decoded(c), 3: decoded(a)})
    assert found == compare({2: decoded(b)}, {2: decoded(c)})
    with pytest.raises(ComparisonError, match=r"no seed in common: \[1\] and \[2, 3\]"):
        compare({1: decoded(a)}, {2: decoded(b), 3: decoded(c)})


def test_references_that_are_empty() -> None:
    found = difference([1, 0, 3], [0, 0, 3], [0, 0, 4])
    assert found.points == 25
    assert np.isfinite([found.low, found.high]).all()


def test_other_utterances_are_not_compared() -> None:
    here = decoded([1, 2, 3], [4, 5, 6])
    with pytest.raises(ComparisonError, match=r"1 utterance\(s\), such as 2, are not the same in both"):
        compare({1: here}, {1: decoded([1, 2], [4, 5])})
    with pytest.raises(ComparisonError, match=r"1 utterance\(s\), such as 1, are not the same in both"):
        compare({1: here}, {1: decoded([1, 2, 3], [4, 9, 6])})
    bare = {number: Utterance(each.reference, each.units, None) for number, each in here.items()}
    assert compare({1: bare}, {1: bare}).words is None
    with pytest.raises(ComparisonError, match="one system has words, the other has none"):
        compare({1: here}, {1: bare})
