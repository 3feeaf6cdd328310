"""The t tests over seeds: how often equal systems are called, and how often an effect of known size is found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fairseq_parp.errors import ComparisonError
from fairseq_parp.experiments.significance import LEVEL, TTest, holm, smallest_difference, t_test

DRAWS = 1000
SEED_SD, UTTERANCE_ERROR = 5.0, 0.7
ONE_RECIPE = (52.2, 60.7, 59.0, 64.1)
"""UER in % of one dense recipe under four seeds: equal systems by construction."""


def called(tests: list[TTest | None]) -> float:
    return sum(test is not None and test.p < LEVEL for test in tests) / len(tests)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_systems_are_called_at_most_seven_times_of_a_hundred(seeds: int, paired: bool) -> None:
    chance = np.random.default_rng(seeds)
    first, second = chance.normal(60, SEED_SD, (2, DRAWS, seeds))
    first += chance.normal(0, UTTERANCE_ERROR, (DRAWS, 1))  # what this test set makes of them, the same for all seeds
    found = [t_test(one, other, paired=paired) for one, other in zip(first, second, strict=True)]
    assert called(found) <= 0.07
    assert (seeds > 2) == any(found)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_one_recipe_under_other_seeds_is_not_called(seeds: int, paired: bool) -> None:
    first, second = np.random.default_rng(seeds).choice(ONE_RECIPE, (2, DRAWS, seeds))
    assert called([t_test(one, other, paired=paired) for one, other in zip(first, second, strict=True)]) <= 0.07


@pytest.mark.parametrize("seeds", [(3,), (5,), (3, 3), (4, 4), (5, 5), (3, 6)])
def test_an_effect_is_found_as_often_as_the_power_says(seeds: tuple[int, ...]) -> None:
    chance = np.random.default_rng(sum(seeds))
    paired, (ours, theirs) = len(seeds) == 1, (seeds * 2)[:2]
    effect = smallest_difference([TTest(1.0, SEED_SD * (1 / ours + 1 / theirs) ** 0.5, 1.0, seeds)])
    assert effect
    first, second = chance.normal(60, SEED_SD, (DRAWS, ours)), chance.normal(60, SEED_SD, (DRAWS, theirs))
    found = called([t_test(one, other + effect, paired=paired) for one, other in zip(first, second, strict=True)])
    assert found == pytest.approx(0.8, abs=0.035)


def test_of_many_comparisons_the_printed_difference_is_found_as_often() -> None:
    """Six comparisons, one with an effect of the size that the table prints for these seeds; Holm's correction."""
    chance, seeds, many = np.random.default_rng(1), 5, 6
    effect = smallest_difference([TTest(1.0, SEED_SD / seeds**0.5, seeds - 1, (seeds,))] * many)
    assert effect
    right = wrong = 0
    for _ in range(DRAWS // 4):
        differences = chance.normal(0, SEED_SD, (many, seeds))
        differences[0] += effect
        tests = [t_test(each, np.zeros(seeds), paired=True) for each in differences]
        hit, *others = (p < LEVEL for p in holm([test.p for test in tests if test]))
        right, wrong = right + hit, wrong + any(others)
    assert 0.75 <= right / (DRAWS // 4) <= 0.85
    assert wrong / (DRAWS // 4) <= 0.07


def test_the_tests_are_scipys() -> None:
    first, second = np.random.default_rng(3).normal(60, 3, (2, 6))
    paired, welch = t_test(first, second, paired=True), t_test(first, second[:4], paired=False)
    assert paired
    assert welch
    wanted = stats.ttest_rel(first, second)
    assert (paired.p, paired.freedom) == pytest.approx((wanted.pvalue, 5))
    assert (paired.seeds, welch.seeds) == ((6,), (6, 4))
    assert (first - second).mean() / paired.error == pytest.approx(wanted.statistic)
    wanted = stats.ttest_ind(first, second[:4], equal_var=False)
    assert (welch.p, welch.freedom) == pytest.approx((wanted.pvalue, wanted.df))
    assert (first.mean() - second[:4].mean()) / welch.error == pytest.approx(wanted.statistic)


def test_seeds_without_spread_allow_no_test() -> None:
    assert t_test([100.0] * 3, [100.0] * 3, paired=True) is None
    assert t_test([60.0, 61.0, 62.0], [61.0, 62.0, 63.0], paired=True) is None
    assert t_test([100.0] * 3, [60.0] * 3, paired=False) is None
    assert t_test([60.0, 61.0], [40.0, 41.0, 42.0], paired=False) is None


def test_holm() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("freedom", [2, 4, 9])
@pytest.mark.parametrize("many", [1, 18, 500])
def test_the_smallest_difference_is_that_of_a_simulation(freedom: int, many: int) -> None:
    found = smallest_difference([TTest(0.5, 2.0, freedom, (freedom + 1,))] * many)
    assert found
    chance = np.random.default_rng(many)
    t = (found / 2 + chance.normal(size=100_000)) / np.sqrt(chance.chisquare(freedom, 100_000) / freedom)
    assert (t > stats.t.isf(LEVEL / many / 2, freedom)).mean() == pytest.approx(0.8, abs=0.01)
    assert smallest_difference([]) is None


@pytest.mark.parametrize("paired", [True, False])
def test_a_rate_that_is_no_number_is_refused(paired: bool) -> None:
    with pytest.raises(ComparisonError, match=r"an error rate is not a number: .*nan"):
        t_test([50.0, float("nan"), 52.0], [51.0, 52.0, 53.0], paired=paired)


@pytest.mark.filterwarnings("error")
def test_one_system_without_spread_is_compared_in_silence() -> None:
    found = t_test([50.0, 50.0, 50.0], [51.0, 52.0, 53.0], paired=False)
    assert found is not None
    assert found.p == pytest.approx(stats.ttest_1samp([51.0, 52.0, 53.0], 50.0).pvalue)
