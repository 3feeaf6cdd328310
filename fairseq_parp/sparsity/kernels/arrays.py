"""The passes in numpy: any floating-point type in main memory, on as many threads as torch uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.sparsity import packing
from fairseq_parp.sparsity.kernels import INTEGERS, Keys, ThresholdChunk
from fairseq_parp.sparsity.kernels.chunkwise import Chunkwise, Counts

_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)


class Arrays(Chunkwise):
    """Takes flat views as arrays of unsigned integers: numpy knows no bfloat16, and needs none."""

    chunk = 1 << 20  # in smaller ones threads wait more for Python; larger ones need more room for temporary arrays

    def __init__(self, dtype: torch.dtype) -> None:
        self.infinity = int(_keys(_unsigned(torch.tensor([torch.inf], dtype=dtype)))[0])

    def flat(self, tensor: Tensor) -> Any:
        """Return a view of the tensor's memory as unsigned integers of its width."""
        packing.require_contiguous(tensor)
        return _unsigned(tensor.detach()).reshape(-1)

    def _keys_of(self, values: Any) -> Keys:
        return _keys(values)

    def _count_and_collect_in(self, values: Any, low: int, high: int, room: int) -> tuple[Counts, Keys | None]:
        keys = _keys(values)
        number = keys.dtype.type  # at a Python number, numpy would not let other threads run
        below, until = keys < number(low), keys < number(max(low, high))
        found = _where(keys, np.not_equal(below, until, out=until))
        counts = Counts(int(np.count_nonzero(below)), found.size, int(keys.max(initial=0)) < self.infinity)
        return counts, found if found.size <= room else None

    def _histogram_of(self, values: Any, low: int, high: int, shift: int) -> NDArray[np.int64]:
        digits = (_within(_keys(values), low, high) - low) >> shift
        return np.bincount(digits.astype(np.int64), minlength=((high - 1 - low) >> shift) + 1)

    def _places_of(self, values: Any, key: int) -> NDArray[np.int64]:
        return np.flatnonzero(_keys(values) == key)

    def _apply_threshold_to(self, target: ThresholdChunk, key: int) -> None:
        values, weights, split, bits, _ = target
        keys = _keys(values)
        number = keys.dtype.type
        kept = keys >= number(key + (split == len(values)))
        if split < len(values):
            kept[:split] &= keys[:split] != number(key)
        if weights is not None:  # multiplying with booleans is faster than a masked assignment
            if weights is not values:
                kept &= _keys(weights) != 0
                np.multiply(weights, kept, out=weights)
            np.multiply(values, kept, out=values)
        bits[:] = np.packbits(kept, bitorder="little")

    def _apply_mask_to(self, values: Any, bits: Any, stashed: Any | None) -> int:
        kept = np.unpackbits(bits, count=len(values), bitorder="little").view(np.bool_)
        if stashed is not None:
            dropped = values[~kept]
            stashed[: len(dropped)] = dropped
        np.multiply(values, kept, out=values)
        return len(values) - int(np.count_nonzero(kept))

    def _scatter_into(self, values: Any, stashed: Any) -> int:
        zeros = _keys(values) == 0
        count = int(np.count_nonzero(zeros))
        values[zeros] = stashed[:count]
        return count

    def _ones(self, bits: NDArray[np.uint8]) -> int:
        if not hasattr(np, "bitwise_count"):  # numpy 2 has it, and takes eight bytes at a time
            return int(_POPCOUNT[bits].sum())
        return int(np.bitwise_count(bits if bits.size % 8 else bits.view(np.uint64)).sum())


def _unsigned(values: Tensor) -> Any:
    array = values.view(INTEGERS[values.element_size()]).numpy()
    return array.view(f"u{array.itemsize}")


def _keys(values: Any) -> Keys:
    keys: Keys = np.bitwise_and(values, np.iinfo(values.dtype).max >> 1)
    return keys


def _where(keys: Keys, wanted: NDArray[np.bool_]) -> Keys:
    """Return ``keys[wanted]``, fast where few are wanted: eight are passed over at a time."""
    whole = keys.size - keys.size % 8
    some = np.flatnonzero(wanted[:whole].view(np.uint64) != 0)  # of booleans, numpy finds them without branches
    near = keys[:whole].reshape(-1, 8).take(some, 0)[wanted[:whole].reshape(-1, 8).take(some, 0)]
    return near if whole == keys.size else np.concatenate((near, keys[whole:][wanted[whole:]]))


def _within(keys: Keys, low: int, high: int) -> Keys:
    return keys[(keys >= low) & (keys < high)]
