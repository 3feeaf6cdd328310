"""The exact k smallest magnitudes: golden tables a reader checks by eye, and a plain stable sort."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fairseq_parp.errors import ParpError, WeightsError
from fairseq_parp.sparsity import select
from fairseq_parp.sparsity.packing import ones, pack_nonzero, unpack

INF, NAN = float("inf"), float("nan")


pytestmark = pytest.mark.usefixtures("kernel")


def zero_smallest(named: dict[str, Tensor], k: int) -> select.Selected:
    ranking = select.Ranking(named)
    return ranking.apply_threshold(ranking.threshold(k).include_zeros(), named)


def pruned(tensors: list[list[float]], k: int, dtype: torch.dtype = torch.float32) -> list[list[float]]:
    named = {f"w{i}": torch.tensor(values, dtype=dtype) for i, values in enumerate(tensors)}
    zero_smallest(named, k)
    return [tensor.tolist() for tensor in named.values()]


@pytest.mark.parametrize(
    ("tensors", "k", "expected"),
    [
        # the smallest magnitudes go, whatever their sign
        ([[3.0, -1.0, 2.0, -4.0]], 2, [[3.0, 0.0, 0.0, -4.0]]),
        # one threshold over all tensors
        ([[1.0, 2.0], [3.0, 0.5]], 2, [[0.0, 2.0], [3.0, 0.0]]),
        # all equal: the first in order go
        ([[1.0, 1.0], [1.0, 1.0]], 3, [[0.0, 0.0], [0.0, 1.0]]),
        ([[1.0, -1.0, 1.0, -1.0]], 1, [[0.0, -1.0, 1.0, -1.0]]),
        # a tie at the cut: smaller ones first, then the earliest of the equal
        ([[2.0, 1.0, 2.0], [2.0]], 2, [[0.0, 0.0, 2.0], [2.0]]),
        # natural zeros count first
        ([[0.0, 1.0, 2.0, 3.0]], 1, [[0.0, 1.0, 2.0, 3.0]]),
        ([[0.0, 1.0, 2.0, 3.0]], 2, [[0.0, 0.0, 2.0, 3.0]]),
        # more natural zeros than k: nothing else goes
        ([[0.0, -0.0, 0.0, 3.0]], 1, [[0.0, 0.0, 0.0, 3.0]]),
        # subnormals are not zeros
        ([[1e-45, 0.0, 1e-40]], 2, [[0.0, 0.0, 1e-40]]),
        ([[1.0, 2.0]], 0, [[1.0, 2.0]]),
        ([[1.0, 2.0]], 2, [[0.0, 0.0]]),
        ([[], [1.0], []], 1, [[], [0.0], []]),
    ],
)
def test_golden(tensors: list[list[float]], k: int, expected: list[list[float]]) -> None:
    assert pruned(tensors, k) == [torch.tensor(row).tolist() for row in expected]


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("k", [0, 1, 3])
def test_not_finite_names_the_parameter_and_changes_nothing(bad: float, k: int) -> None:
    named = {"fine": torch.ones(3), "layers.0.fc1.bias": torch.tensor([1.0, bad])}
    with pytest.raises(WeightsError, match=r"layers\.0\.fc1\.bias: 1 NaN or infinite value\(s\) at update 12"):
        select.Ranking(named).threshold(k, update=12)


def test_largest_finite_is_not_infinite() -> None:
    assert pruned([[3.4028234663852886e38, 1.0]], 1) == [[3.4028234663852886e38, 0.0]]


def test_memory_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(ParpError, match="contiguous"):
        select.Ranking({"w": torch.ones(3, 4).t()})


def by_stable_sort(tensors: list[Tensor], k: int) -> list[Tensor]:
    """The specification: flatten, sort stably by magnitude, zero the first k."""
    flat = torch.cat([tensor.flatten() for tensor in tensors]).clone()
    order = np.argsort(flat.abs().double().numpy(), kind="stable")
    flat[torch.from_numpy(order[:k])] = 0
    return list(flat.split([tensor.numel() for tensor in tensors]))


values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-38, 3e38, 0.1, -0.1]),
    st.floats(width=16, allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(values, max_size=20), min_size=1, max_size=4),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
)
@pytest.mark.usefixtures("sizes")
def test_equals_a_stable_sort(rows: list[list[float]], share: float, dtype: torch.dtype) -> None:
    tensors = [torch.tensor(row, dtype=torch.float64).clamp(-6e4, 6e4).to(dtype) for row in rows]
    k = int(share * sum(len(row) for row in rows))
    expected = by_stable_sort(tensors, k)
    swept = zero_smallest({str(i): tensor for i, tensor in enumerate(tensors)}, k)
    for ours, theirs, bits in zip(tensors, expected, swept.bits.values(), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(unpack(bits, len(ours)), ours != 0)
    assert list(swept.kept.values()) == [int(torch.count_nonzero(tensor)) for tensor in expected]


def many(case: str) -> dict[str, Tensor]:
    """Enough weights for samples, threads and several chunks; three shapes, none a multiple of 8."""
    torch.manual_seed(0)
    tensors = [torch.randn(size) for size in (700_001, 1, 600_003, 3)]
    if case == "few values":
        tensors = [(3 * tensor).round() for tensor in tensors]
    elif case == "fp16-valued":
        tensors = [tensor.half().float() for tensor in tensors]
    elif case == "half zeros":
        tensors = [tensor * (torch.rand_like(tensor) < 0.5) for tensor in tensors]
    elif case == "all equal":
        tensors = [torch.full_like(tensor, -0.25) for tensor in tensors]
    elif case == "another value at every place that a sample sees":
        for tensor in tensors:
            tensor[::5] = 100
    elif case == "one tensor much smaller":
        tensors[2] *= 1e-6
    return {f"w{number}": tensor for number, tensor in enumerate(tensors)}


CASES = [
    "normal", "few values", "fp16-valued", "half zeros", "all equal",
    "another value at every place that a sample sees", "one tensor much smaller",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("share", [0.3, 0.501, 0.9999])
def test_many_weights_equal_a_stable_sort(case: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    tensors = many(case)
    before = {name: pack_nonzero(tensor) for name, tensor in tensors.items()}
    k = int(share * 1_300_008)
    expected = by_stable_sort(list(tensors.values()), k)
    ranking = select.Ranking(tensors)
    swept = ranking.apply_threshold(ranking.threshold(k).include_zeros(), tensors, before)
    for ours, theirs, bits in zip(tensors.values(), expected, swept.bits.values(), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(bits, pack_nonzero(theirs))
    assert swept.churn == sum(ones(before[name] ^ swept.bits[name]) for name in tensors)


def test_weights_of_another_type_are_zeroed_where_they_are_zero_already() -> None:
    masters = {"w": torch.tensor([1e-9, 3.0, -2.0, 1e-8, 4.0])}
    weights = {"w": masters["w"].half()}
    ranking = select.Ranking(masters)
    swept = ranking.apply_threshold(ranking.threshold(1).include_zeros(), weights)
    assert masters["w"].tolist() == weights["w"].tolist() == [0.0, 3.0, -2.0, 0.0, 4.0]
    assert sum(swept.kept.values()) == 3


@pytest.mark.parametrize(("k", "displaces"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_zeros_are_not_displaced(k: int, displaces: bool) -> None:
    ranking = select.Ranking({"w": torch.tensor([2.0, 0.0, 1e-45, -0.0])})
    assert ranking.threshold(k).include_zeros().displaces is displaces


def test_types_may_be_mixed() -> None:
    named = {"a": torch.tensor([1.0, -3.0]).half(), "b": torch.tensor([2.0, 0.5]), "c": torch.tensor([0.25, 9.0])}
    zero_smallest(named, 3)
    assert [tensor.tolist() for tensor in named.values()] == [[0.0, -3.0], [2.0, 0.0], [0.0, 9.0]]


def extra_memory(weights: dict[str, torch.Tensor]) -> int:
    """Return the bytes that a prune of the weights to half holds at most, the mask's bits not counted."""
    half = sum(tensor.numel() for tensor in weights.values()) // 2
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        tracemalloc.start()
        ranking = select.Ranking(weights)
        ranking.apply_threshold(ranking.threshold(half).include_zeros(), weights)
        arrays = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    peak = held = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return arrays + peak - half // 4


def test_extra_memory_hardly_grows_with_the_model(kernel: str) -> None:
    """Of 64 MiB more of weights, less than 2 %; beside that, buffers of a fixed size, here those of one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        weights = {f"w{i}": torch.randn(1 << 20) for i in range(32)}
        some = dict(list(weights.items())[:16])
        zero_smallest({name: tensor.clone() for name, tensor in some.items()}, 1 << 23)  # what is made but once
        less = extra_memory({name: tensor.clone() for name, tensor in some.items()})
        assert 0 < less < 8 << 20, kernel
        assert extra_memory(weights) - less < 0.02 * (64 << 20), kernel
    finally:
        torch.set_num_threads(threads)
