"""Which implementation is chosen."""

from __future__ import annotations

import pytest
import torch

from fairseq_parp.sparsity import kernels, packing
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
    assert [kernel.find(values, key, rank) for rank in range(1, 23)] == expected
    with pytest.raises(IndexError, match="1 weights too few have the key"):
        kernel.find(values, key, 23)
