"""Which implementation is chosen; and what all of them do alike."""

from __future__ import annotations

import pytest
import torch

from fairseq_parp.sparsity import kernels, packing
from fairseq_parp.sparsity.kernels import MaskChunk, MaskedCopy, chunkwise
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.tensors import Tensors


@pytest.mark.parametrize(
    ("dtypes", "device", "name"),
    [
        ([torch.float32, torch.float32], "cpu", "Arrays" if kernels.load_compiled() is None else "Compiled"),
        ([torch.bfloat16, torch.bfloat16], "cpu", "Arrays"),
        ([torch.float32, torch.float16], "cpu", "Tensors"),
        ([torch.float32], "meta", "Tensors"),
        ([], "cpu", "Tensors"),
    ],
)
def test_choice(dtypes: list[torch.dtype], device: str, name: str) -> None:
    tensors = [torch.zeros(3, dtype=dtype, device=device) for dtype in dtypes]
    assert type(kernels.choose(tensors)).__name__ == name


def test_a_kernel_can_be_asked_for() -> None:
    one = kernels.choose([])
    with kernels.using(one):
        assert kernels.choose([torch.zeros(3)]) is one
    assert kernels.choose([torch.zeros(3)]) is not one


@pytest.mark.parametrize("kernel", [Arrays(torch.float32), Tensors(wide=False, cpu=True)])
def test_one_of_equal_weights_is_found_in_any_chunk(kernel: kernels.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", 8)
    weights = torch.tensor([1.0, 2.0, -2.0] * 11)
    values, (key,) = kernel.flat(weights), kernel.sample([kernel.flat(torch.tensor([2.0]))], 1)
    expected = [place for place in range(33) if place % 3]
    assert [kernel.nth_position(values, key, rank) for rank in range(1, 23)] == expected
    with pytest.raises(IndexError, match="1 weights too few have the key"):
        kernel.nth_position(values, key, 23)


def every_kernel() -> list[kernels.Kernel]:
    compiled = kernels.load_compiled()
    return [Arrays(torch.float32), Tensors(wide=False, cpu=True), *([] if compiled is None else [compiled])]


@pytest.mark.parametrize("kernel", every_kernel(), ids=lambda kernel: type(kernel).__name__)
@pytest.mark.parametrize("aside", [True, False])
def test_drop_and_fill(kernel: kernels.Kernel, aside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks with a rest, of several parts, all kept and all dropped, with zeros of both signs and NaN."""
    monkeypatch.setattr(kernel, "chunk", 128)
    monkeypatch.setattr(chunkwise, "WORTH_THREADS", 1)
    torch.manual_seed(0)
    sizes = [0, 1, 7, 8, 63, 64, 65, 128, 129, 1000]
    tensors = [torch.randn(size) for size in sizes for _ in range(3)]
    kept = [torch.rand(len(each)) < chance for each, chance in zip(tensors, [0.5, 0, 1] * len(sizes), strict=True)]
    for each, keeps in zip(tensors, kept, strict=True):
        each[keeps & (each > 1.5)] = torch.inf
        each[~keeps & (each.abs() < 0.2)] = -0.0
        each[~keeps & (each > 1.5)] = torch.nan
    before = [each.clone() for each in tensors]
    bits = [packing.pack(each) for each in kept]
    rooms = [torch.full([int((~each).sum())], -7.0) for each in kept]
    flat = kernel.flat
    kernel.apply_mask(
        [MaskChunk(flat(v), flat(b), flat(r) if aside else None) for v, b, r in zip(tensors, bits, rooms, strict=True)]
    )
    for each, keeps, was in zip(tensors, kept, before, strict=True):
        assert same(each, torch.where(keeps, was, torch.zeros(())))
    if aside:
        assert all(same(room, was[~keeps]) for room, was, keeps in zip(rooms, before, kept, strict=True))
        kernel.scatter([(flat(each), flat(room)) for each, room in zip(tensors, rooms, strict=True)])
        assert all(same(each, was) for each, was in zip(tensors, before, strict=True))


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether all is the same to the last bit, signs of zeros included."""
    return torch.equal(one.view(torch.int32), other.view(torch.int32))


@pytest.mark.parametrize("kernel", every_kernel(), ids=lambda kernel: type(kernel).__name__)
def test_masked_copies_and_gradients_of_scores(kernel: kernels.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks with a rest, all kept and all dropped; scores of both signs and zero."""
    monkeypatch.setattr(chunkwise, "WORTH_THREADS", 1)
    torch.manual_seed(0)
    for size in (0, 1, 7, 8, 63, 64, 65, 128, 129, 1000):
        for chance in (0.5, 0, 1):
            weights, kept = torch.randn(size), torch.rand(size) < chance
            into, before = torch.full([size], torch.nan), weights.clone()
            kernel.copy_masked([MaskedCopy(*map(kernel.flat, (into, weights, packing.pack(kept))))])
            assert same(into, torch.where(kept, before, torch.zeros(())))
            assert same(weights, before)
            scores = torch.randn(size) * kept
            assert torch.equal(kernel.score_gradient(into, weights, scores), into * weights * scores.sign())


def test_gradients_of_scores_that_do_not_lie_in_one_piece() -> None:
    torch.manual_seed(0)
    gradient, weight, scores = torch.randn(5, 7).T, torch.randn(7, 5), torch.randn(7, 5)
    found = kernels.choose([gradient, weight, scores]).score_gradient(gradient, weight, scores)
    assert torch.equal(found, gradient * weight * scores.sign())
