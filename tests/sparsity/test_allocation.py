"""Allocations: exact counts, ERK against its formula, maps, and what they refuse."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from fairseq_parp.errors import ConfigError, ScopeError
from fairseq_parp.sparsity import PruningSession, read_config
from fairseq_parp.sparsity.allocation import ALLOCATIONS, Share, build_allocation, size_of
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.magnitude import magnitude_mask
from fairseq_parp.sparsity.parameter import PrunedParameter

SHAPES = {
    "e.layers.0.fc1.weight": (6, 4),
    "e.layers.0.fc1.bias": (6,),
    "e.layers.1.fc1.weight": (8, 8),
    "proj.bias": (5,),
}
HALF = Fraction(1, 2)


@pytest.mark.parametrize(("name", "sizes"), [("global", [4]), ("layer", [2, 1, 1]), ("tensor", [1, 1, 1, 1])])
def test_what_shares_a_threshold(name: str, sizes: list[int]) -> None:
    shares = ALLOCATIONS[name](SHAPES, HALF)
    assert [len(share.names) for share in shares] == sizes
    assert [name for share in shares for name in share.names] == list(SHAPES)
    for share in shares:
        assert share.zeros == zero_count(HALF, sum(size_of(SHAPES[name]) for name in share.names))


def test_erk_by_hand() -> None:
    """Of 99 weights 50 go. Biases are as dense as can be; the matrices keep 38 in proportion 10/24 to 16/64."""
    zeros = {share.names[0]: share.zeros for share in ALLOCATIONS["erk"](SHAPES, HALF)}
    # 11 biases stay; density = scale * (rows + columns) / weights; scale = 38 / (10 + 16): 14.6 and 23.4 are kept
    assert zeros == {
        "e.layers.0.fc1.weight": 9, "e.layers.0.fc1.bias": 0, "e.layers.1.fc1.weight": 41, "proj.bias": 0,
    }  # fmt: skip


shapes = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple), min_size=1, max_size=6)


@given(shapes, st.integers(0, 1000))
def test_erk_gives_exactly_k_zeros_in_all(sizes: list[tuple[int, ...]], thousandths: int) -> None:
    named = {str(number): shape for number, shape in enumerate(sizes)}
    sparsity = Fraction(thousandths, 1000)
    shares = ALLOCATIONS["erk"](named, sparsity)
    total = sum(map(size_of, sizes))
    assert sum(share.zeros for share in shares) == zero_count(sparsity, total)
    assert all(0 <= share.zeros <= size_of(named[share.names[0]]) for share in shares)


def test_a_map_gives_each_expression_its_sparsity_and_the_rest_the_runs() -> None:
    allocate = build_allocation(((r".*layers\.0\..*", 0.2), ("proj.bias", 0.0)), HALF)
    assert allocate(SHAPES, HALF) == [
        Share(("e.layers.0.fc1.weight", "e.layers.0.fc1.bias"), 6),
        Share(("proj.bias",), 0),
        Share(("e.layers.1.fc1.weight",), 32),
    ]
    # halfway up a ramp every sparsity is halfway up
    assert [share.zeros for share in allocate(SHAPES, HALF / 2)] == [3, 0, 16]


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        (((r".*fc7", 0.2),), "task.pruning.allocation: '.*fc7' matches no parameter of the scope"),
        (((r".*fc1.*", 0.2), (r".*bias", 0.1)), "task.pruning.allocation: e.layers.0.fc1.bias is matched by both"),
    ],
)
def test_a_map_finds_every_tensor_once(pairs: tuple[tuple[str, float], ...], line: str) -> None:
    with pytest.raises(ScopeError) as caught:
        build_allocation(pairs, HALF)(SHAPES, HALF)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("allocation", "line"),
    [
        ("row", "task.pruning.allocation='row': must be one of erk, global, layer, tensor"),
        ({".*": 1.0}, "task.pruning.allocation..*=1.0: must be a number in [0, 1): a tensor has no more zeros than"),
        ({".*": "half"}, "task.pruning.allocation..*='half': must be a number in [0, 1)"),
        ({"(": 0.5}, "task.pruning.allocation.(=0.5: its expression is not a regular one"),
    ],
)
def test_allocations_that_do_not_exist_or_fit(allocation: object, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(allocation=allocation)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("asked", ["foo", 5, ["global"], ["gl", "er"], {}])
def test_what_is_no_allocation_is_refused_with_what_is(asked: object) -> None:
    allowed = "must be one of erk, global, layer, tensor, or a map of expressions to sparsities"
    with pytest.raises(ConfigError, match=rf"task\.pruning\.allocation=.*: {allowed}"):
        read_config(allocation=asked)


def test_a_map_that_would_never_be_reached_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"in proportion to task\.pruning\.sparsity, which is 0"):
        read_config(sparsity=0, allocation={r".*fc1.*": 0.9})
    assert read_config(sparsity=0, allocation={r".*fc1.*": 0}).sparsity == 0


OUTSIDE = {
    "more zeros than weights": (lambda names: [Share(names, 100)], "asks 100 zeros of 99 weights"),
    "fewer zeros than none": (lambda names: [Share(names, -1)], "asks -1 zeros of 99 weights"),
    "half a zero": (lambda names: [Share(names, 0.5)], "asks 0.5 zeros of 99 weights"),
    "a tensor left out": (lambda names: [Share(names[:-1], 1)], "it has proj.bias in 0"),
    "a tensor twice": (lambda names: [Share(names, 1), Share(names[:1], 1)], "it has e.layers.0.fc1.weight in 2"),
    "a tensor of no model": (lambda names: [Share((*names, "other"), 1)], "it has other in 1"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_an_allocation_from_outside_that_does_not_add_up_is_one_line(case: str) -> None:
    make, message = OUTSIDE[case]
    model = {name: PrunedParameter(torch.ones(shape)) for name, shape in SHAPES.items()}
    ALLOCATIONS.register(case, lambda shapes, _sparsity: make(tuple(shapes)))
    try:
        with pytest.raises(ConfigError, match=rf"task\.pruning\.allocation='{case}': .*{message}"):
            PruningSession(model, read_config(allocation=case))
        with pytest.raises(ConfigError, match=message):
            magnitude_mask({name: each.weight for name, each in model.items()}, 0.5, case)
    finally:
        del ALLOCATIONS._entries[case]


@given(shapes, st.lists(st.integers(0, 1000), min_size=2, max_size=8))
@example([(1, 1), (1, 4), (5, 9)], [860, 870])  # fractions that are rounded up by their size give 1, 2, 40 and 0, 3, 41
def test_erk_takes_no_zero_back_as_the_sparsity_rises(sizes: list[tuple[int, ...]], thousandths: list[int]) -> None:
    """gmp holds the zeros that it has: one that a tensor had too many would be more than k in all."""
    named = {str(number): shape for number, shape in enumerate(sizes)}
    steps = [[share.zeros for share in ALLOCATIONS["erk"](named, Fraction(each, 1000))] for each in sorted(thousandths)]
    assert all(now <= then for before, after in pairwise(steps) for now, then in zip(before, after, strict=True))
