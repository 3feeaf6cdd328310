"""Restores a whole tensor from the bits of its mask and its kept values, in one pass."""

from __future__ import annotations

import ctypes
import functools

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp import native
from fairseq_parp.sparsity.kernels import INTEGERS, compiled

PART = "sparsity.kernels.expansion"
"""Its library."""

_WIDTHS = (2, 4)
"""Bytes of the elements that the compiled pass takes."""


def expand(into: Tensor, bits: NDArray[np.uint8], values: NDArray[np.uint8]) -> int:
    """Put values into a tensor where a mask keeps them, in order, and zeros elsewhere.

    Args:
        into: contiguous, in main memory, of n elements.
        bits: ``ceil(n / 8)`` bytes, lowest bit first, 1 where a value is kept.
        values: the bytes of the kept values; more may follow.

    Returns:
        how many values were used.

    Raises:
        ValueError: there are fewer than the mask keeps.
    """
    library = _library()
    if library is None or into.element_size() not in _WIDTHS:
        used = by_numpy(into, bits, values)
    else:
        used = by_library(library, compiled.levels(library) - 1, into, bits, values)
    if used < 0:
        raise ValueError(f"its mask keeps more than the {values.size // into.element_size()} values stored")
    return used


def by_library(
    library: ctypes.CDLL, level: int, into: Tensor, bits: NDArray[np.uint8], values: NDArray[np.uint8]
) -> int:
    """Expand by one of the compiled implementations; -1 where the values do not suffice."""
    width = into.element_size()
    library.parp_expand.restype = ctypes.c_int64
    return int(
        library.parp_expand(
            ctypes.c_void_p(into.data_ptr()), ctypes.c_int64(into.numel()), ctypes.c_int32(width),
            ctypes.c_void_p(bits.ctypes.data), ctypes.c_void_p(values.ctypes.data),
            ctypes.c_int64(values.size // width), ctypes.c_int32(level),
        )
    )  # fmt: skip


def by_numpy(into: Tensor, bits: NDArray[np.uint8], values: NDArray[np.uint8]) -> int:
    """Expand without the compiled part; -1 where the values do not suffice."""
    whole = into.detach().view(-1).view(INTEGERS[into.element_size()]).numpy()
    kept = np.unpackbits(bits, count=whole.size, bitorder="little").view(np.bool_)
    used = int(np.count_nonzero(kept))
    if used * whole.itemsize > values.size:
        return -1
    whole[:] = 0
    whole[kept] = values[: used * whole.itemsize].view(whole.dtype)
    return used


@functools.cache
def _library() -> ctypes.CDLL | None:
    return native.load(PART)
