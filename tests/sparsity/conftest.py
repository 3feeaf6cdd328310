"""Every implementation of the passes, and sizes at which small inputs take every way through the selection."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
from torch import Tensor

from fairseq_parp.sparsity import kernels, packing, select
from fairseq_parp.sparsity.kernels import chunkwise
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.compiled import Compiled
from fairseq_parp.sparsity.kernels.tensors import Tensors

compiled_here = pytest.mark.skipif(kernels.load_compiled() is None, reason="not compiled here")
KERNELS = [pytest.param("compiled", marks=compiled_here), "numpy", "torch"]


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let one implementation do all the work that it can do; the compiled one leaves all but fp32 to numpy."""

    def choose(ranked: Collection[Tensor]) -> kernels.Kernel:
        dtypes = {tensor.dtype for tensor in ranked}
        if request.param == "torch" or len(dtypes) != 1:
            return Tensors(torch.float64 in dtypes, cpu=True)
        compiled = kernels.load_compiled() if request.param == "compiled" and dtypes == {torch.float32} else None
        return compiled or Arrays(*dtypes)

    monkeypatch.setattr(kernels, "choose", choose)
    return str(request.param)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make samples, brackets, histograms and chunks tiny: the bracket often misses, or holds too much; with threads."""
    for name, value in {
        "MIN_SAMPLE": 8,
        "FILLED": 100,
        "SMALL": 4,
        "MAX_COLLECTED": 0.1,
        "BINS": 4,
        "DEVIATIONS": 1,
    }.items():
        monkeypatch.setattr(select, name, value)
    for kernel in (Compiled, Arrays, Tensors):
        monkeypatch.setattr(kernel, "chunk", 16)
    monkeypatch.setattr(chunkwise, "WORTH_THREADS", 1)
    monkeypatch.setattr(packing, "CHUNK", 8)


@pytest.fixture(params=["usual sizes", "tiny sizes"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take small inputs by the short way, and by all others."""
    if request.param == "tiny sizes":
        shrink(monkeypatch)
    return str(request.param)
