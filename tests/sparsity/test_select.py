"""The exact k smallest magnitudes: golden tables a reader checks by eye, and a plain stable sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq_parp.errors import ParpError, WeightsError
from fairseq_parp.sparsity import select

INF, NAN = float("inf"), float("nan")


def pruned(tensors: list[list[float]], k: int, dtype: torch.dtype = torch.float32) -> list[list[float]]:
    named = {f"w{i}": torch.tensor(values, dtype=dtype) for i, values in enumerate(tensors)}
    cut = select.find_cut(named, k)
    for tensor in named.values():
        select.zero_smallest_(tensor, tensor, cut)
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
        select.find_cut(named, k, update=12)


def test_largest_finite_is_not_infinite() -> None:
    assert pruned([[3.4028234663852886e38, 1.0]], 1) == [[3.4028234663852886e38, 0.0]]


def test_memory_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(ParpError, match="contiguous"):
        select.find_cut({"w": torch.ones(3, 4).t()}, 1)


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


@settings(max_examples=400, deadline=None)
@given(
    rows=st.lists(st.lists(values, max_size=20), min_size=1, max_size=4),
    share=st.floats(0, 1),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    chunk=st.sampled_from([8, 16, select.CHUNK]),
)
def test_equals_a_stable_sort(rows: list[list[float]], share: float, dtype: torch.dtype, chunk: int) -> None:
    tensors = [torch.tensor(row, dtype=torch.float64).clamp(-6e4, 6e4).to(dtype) for row in rows]
    k = int(share * sum(len(row) for row in rows))
    expected = by_stable_sort(tensors, k)
    original, select.CHUNK = select.CHUNK, chunk
    try:
        named = {str(i): tensor for i, tensor in enumerate(tensors)}
        cut = select.find_cut(named, k)
        for tensor in named.values():
            select.zero_smallest_(tensor, tensor, cut)
    finally:
        select.CHUNK = original
    for ours, theirs in zip(tensors, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_large_and_many_ties_equals_a_partition() -> None:
    torch.manual_seed(0)
    tensors = {f"w{i}": torch.randn(300_000).half().float() for i in range(4)}
    flat = torch.cat(list(tensors.values())).abs().numpy()
    k = 700_001
    threshold = np.partition(flat, k - 1)[k - 1]
    cut = select.find_cut(tensors, k)
    for tensor in tensors.values():
        select.zero_smallest_(tensor, tensor, cut)
    after = torch.cat(list(tensors.values())).numpy()
    assert (after == 0).sum() == max(k, (flat == 0).sum())
    assert np.abs(after[after != 0]).min() >= threshold
    assert (after[flat > threshold] != 0).all()


def test_extra_memory_does_not_grow_with_the_model() -> None:
    """Selection over 64 MB of weights holds less than 5 % of that beside them."""
    from torch.profiler import ProfilerActivity, profile

    weights = {f"w{i}": torch.randn(1 << 20) for i in range(16)}
    select.find_cut(weights, 1 << 23)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        cut = select.find_cut(weights, 1 << 23)
        for tensor in weights.values():
            select.zero_smallest_(tensor, tensor, cut)
    peak = held = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 0 < peak < 0.05 * 4 * (1 << 24)
