"""Which implementation is chosen."""

from __future__ import annotations

import pytest
import torch

from fairseq_parp.sparsity import kernels


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
