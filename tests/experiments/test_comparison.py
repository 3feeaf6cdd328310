"""Two systems compared: which seeds, which test, and the verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from fairseq_parp.errors import ComparisonError
from fairseq_parp.experiments.comparison import Comparison, Decoded, compare
from fairseq_parp.experiments.judging import judged
from fairseq_parp.scoring import ErrorRate, Utterance

CHANCE = np.random.default_rng(7)
TOTALS = [int(total) for total in CHANCE.integers(5, 40, size=117)]


def decoded(errors: Sequence[int] | NDArray[np.int64], totals: Sequence[int] = TOTALS) -> dict[int, Utterance]:
    rates = [ErrorRate(int(count), 0, 0, int(total)) for count, total in zip(errors, totals, strict=True)]
    return {
        n: Utterance(tuple("A" * rate.total), rate, ErrorRate(rate.errors, 0, 0, 50)) for n, rate in enumerate(rates)
    }


def of_rate(percent: float) -> dict[int, Utterance]:
    """Return a decoding of 100 utterances with this UER, to a hundredth."""
    every = np.full(100, int(percent))
    every[: round(100 * (percent - int(percent)))] += 1
    return decoded(every, [100] * 100)


def system(*percents: float, first_seed: int = 1) -> Decoded:
    return {first_seed + number: of_rate(percent) for number, percent in enumerate(percents)}


def told(*compared: Comparison) -> list[str]:
    return judged([(f"a {number}", each) for number, each in enumerate(compared)])


def test_points_are_the_difference_of_the_seeds_means() -> None:
    first, second = CHANCE.integers(0, 8, size=(2, 4, 117))
    systems = [{seed: decoded(errors[seed]) for seed in range(4)} for errors in (first, second)]
    found = compare(*systems, trained_alike=True)
    assert found.units.points == pytest.approx(100 * (first.sum() - second.sum()) / (4 * sum(TOTALS)))
    assert found.words
    assert found.words.points == pytest.approx(100 * (first.sum() - second.sum()) / (4 * 50 * 117))
    assert found.units.interval
    assert found.units.interval[0] < found.units.points < found.units.interval[1]


@pytest.mark.parametrize(
    ("first", "second", "alike", "seeds", "paired"),
    [
        ((1, 2, 3), (1, 2, 3), True, ((1, 2, 3), (1, 2, 3)), True),
        ((1, 2, 3, 4), (2, 3, 4, 5), True, ((2, 3, 4), (2, 3, 4)), True),
        ((1, 2, 3), (1, 2, 3), False, ((1, 2, 3), (1, 2, 3)), False),
        ((1, 2, 3), (3, 4, 5, 6), True, ((1, 2, 3), (3, 4, 5, 6)), False),
        ((1, 2), (1, 3), True, ((1,), (1,)), True),
        ((1,), (2, 3), True, ((1,), (2, 3)), False),
    ],
)
def test_seeds_are_paired_where_both_were_trained_alike(
    first: tuple[int, ...],
    second: tuple[int, ...],
    alike: bool,
    seeds: tuple[tuple[int, ...], tuple[int, ...]],
    paired: bool,
) -> None:
    rates = {seed: of_rate(60 + seed) for seed in range(7)}
    found = compare({s: rates[s] for s in first}, {s: of_rate(50 + s * s) for s in second}, trained_alike=alike)
    assert (found.seeds, found.paired) == (seeds, paired)
    assert (found.units.test is not None) == (min(map(len, seeds)) >= 3)


def test_one_recipe_under_four_seeds_has_no_verdict() -> None:
    rates = dict(enumerate((52.2, 60.7, 59.0, 64.1), start=1))
    singles = [compare(system(rates[a]), system(rates[b]), trained_alike=True) for a, b in combinations(rates, 2)]
    pairs = [
        compare(system(*(rates[seed] for seed in ours)), system(*(rates[seed] for seed in theirs)), trained_alike=True)
        for ours, theirs in (((1, 2), (3, 4)), ((1, 3), (2, 4)), ((1, 4), (2, 3)))
    ]
    for line in (*told(*singles)[:6], *told(*pairs)[:3]):
        assert line.count("no verdict") == 2, line
        assert "(fewer than 3)" in line
        assert "win" not in line
        assert "loss" not in line
    assert told(*singles)[-1].endswith("with 80 % power: none, as they allow no test.")


def test_a_verdict_is_corrected_for_its_list() -> None:
    """p is .023: significant alone, not among three."""
    found = compare(system(60, 62, 61.5), system(65, 66, 64.4), trained_alike=True)
    assert found.units.test
    assert 0.017 < found.units.test.p < 0.05
    assert ": win" in told(found)[0]
    equal = compare(system(60, 62, 61), system(61, 60, 62.5), trained_alike=True)
    first, *others = told(found, equal, equal)[:3]
    assert "UER -3.97 points" in first
    assert all("win" not in line and line.count("not significant") == 2 for line in (first, *others))


def test_a_list_says_what_it_tests_and_what_it_can_find() -> None:
    better = compare(system(40, 41, 42.5, 40, 41.5), system(60, 61, 62, 61, 60), trained_alike=True)
    worse = compare(system(60, 61, 62), system(40, 41, 42.5), trained_alike=False)
    blank = compare(system(100, 100, 100), system(100, 100, 100), trained_alike=True)
    first, second, third, empty, last = told(better, worse, blank)
    assert first.startswith("- a 0, 5 paired seeds: UER -19.80 points, 95 % interval [")
    assert first.count(", p < 0.001: win") == 2
    assert second.startswith("- a 1, 3 and 3 seeds: UER +19.83 points")
    assert second.count(": loss") == 2
    assert third.count("+0.00 points, 95 % interval [+0.00, +0.00], no verdict") == 2
    assert (empty, last.count(" points")) == ("", 2)


def test_other_utterances_are_not_compared() -> None:
    here = decoded([1, 2, 3], [4, 5, 6])
    with pytest.raises(ComparisonError, match=r"1 utterance\(s\), such as 2, are not the same in both"):
        compare({1: here}, {1: decoded([1, 2], [4, 5])}, trained_alike=True)
    with pytest.raises(ComparisonError, match=r"1 utterance\(s\), such as 1, are not the same in both"):
        compare({1: here}, {1: decoded([1, 2, 3], [4, 9, 6])}, trained_alike=True)
    bare = {number: Utterance(each.reference, each.units, None) for number, each in here.items()}
    assert compare({1: bare}, {1: bare}, trained_alike=True).words is None
    with pytest.raises(ComparisonError, match="one system has words, the other has none"):
        compare({1: here}, {1: bare}, trained_alike=True)
