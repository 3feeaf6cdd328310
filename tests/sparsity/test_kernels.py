"""Which implementation is chosen, and that none is loaded before it is needed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from fairseq_parp.sparsity import kernels

without_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")


@pytest.mark.parametrize(
    ("dtypes", "device", "name"),
    [
        ([torch.float32], "cpu", "Arrays"),
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


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        pytest.param("", "False True Compiled", marks=without_numba),
        ("import sys; sys.modules['numba'] = None", "False False Arrays"),
    ],
)
def test_numba_is_loaded_at_the_first_large_prune_where_it_is(before: str, shown: str) -> None:
    program = f"""
{before}
import sys, torch
from fairseq_parp.sparsity import kernels, select
small = {{"w": torch.randn(1000)}}
select.Ranking(small).cut(500)
early = "numba.core" in sys.modules
kernel = kernels.choose([torch.empty(kernels.WORTH_COMPILING)])
print(early, "numba.core" in sys.modules, type(kernel).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == shown.split()
