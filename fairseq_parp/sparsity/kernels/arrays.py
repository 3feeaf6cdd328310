"""The passes in numpy: any floating-point type in main memory, on as many threads as torch uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.sparsity import packing
from fairseq_parp.sparsity.kernels import INTEGERS, Counts, Kernel, Keys

_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


class Arrays(Kernel):
    """Takes flat views as arrays of unsigned integers: numpy knows no bfloat16, and needs none."""

    piece = 1 << 18  # smaller ones: threads wait for Python's lock; larger ones: temporary arrays leave the cache

    def __init__(self, dtype: torch.dtype) -> None:
        self.infinity = int(_keys(_unsigned(torch.tensor([torch.inf], dtype=dtype)))[0])
        self.threads = torch.get_num_threads()

    def flat(self, tensor: Tensor) -> Any:
        """Return a view of the tensor's memory as unsigned integers of its width."""
        packing.require_contiguous(tensor)
        return _unsigned(tensor.detach()).reshape(-1)

    def keys(self, values: Any) -> Keys:
        """Take off the sign."""
        return _keys(values)

    def look(self, values: Any, low: int, high: int, most: int) -> tuple[Counts, Keys | None]:
        """Count by comparing, select by a boolean index; see :class:`Kernel`."""
        keys = _keys(values)
        below, until = keys < low, keys < max(low, high)
        found = _where(keys, below ^ until)
        counts = Counts(int(np.count_nonzero(below)), found.size, int(keys.max(initial=0)) < self.infinity)
        return counts, found if found.size <= most else None

    def histogram(self, values: Any, low: int, high: int, shift: int) -> NDArray[np.int64]:
        """Count digits; see :class:`Kernel`."""
        digits = (_within(_keys(values), low, high) - low) >> shift
        return np.bincount(digits.astype(np.int64), minlength=((high - 1 - low) >> shift) + 1)

    def sweep(
        self, values: Any, weights: Any | None, key: int, split: int, bits: Any, before: Any | None
    ) -> tuple[int, int]:
        """Zero by multiplying with booleans, which is faster than a masked assignment."""
        keys = _keys(values)
        kept = keys >= key
        if split:
            kept[:split] &= keys[:split] != key
        if weights is not None:
            if weights is not values:
                kept &= _keys(weights) != 0
                np.multiply(weights, kept, out=weights)
            np.multiply(values, kept, out=values)
        bits[:] = np.packbits(kept, bitorder="little")
        return _ones(bits), 0 if before is None else _ones(bits ^ before)


def _unsigned(values: Tensor) -> Any:
    array = values.view(INTEGERS[values.element_size()]).numpy()
    return array.view(f"u{array.itemsize}")


def _keys(values: Any) -> Keys:
    keys: Keys = np.bitwise_and(values, np.iinfo(values.dtype).max >> 1)
    return keys


def _ones(bits: NDArray[np.uint8]) -> int:
    if not hasattr(np, "bitwise_count"):  # numpy 2 has it, and takes eight bytes at a time
        return int(_POPCOUNT[bits].sum())
    return int(np.bitwise_count(bits if bits.size % 8 else bits.view(np.uint64)).sum())


def _where(keys: Keys, wanted: NDArray[np.bool_]) -> Keys:
    """Return ``keys[wanted]``, fast where few are wanted: eight are passed over at a time."""
    whole = keys.size - keys.size % 8
    some = np.flatnonzero(wanted[:whole].view(np.uint64) != 0)  # of booleans, numpy finds them without branches
    near = keys[:whole].reshape(-1, 8)[some][wanted[:whole].reshape(-1, 8)[some]]
    return near if whole == keys.size else np.concatenate((near, keys[whole:][wanted[whole:]]))


def _within(keys: Keys, low: int, high: int) -> Keys:
    return keys[(keys >= low) & (keys < high)]
