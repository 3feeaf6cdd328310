"""The two passes that cost time, compiled by numba for this machine's vector unit: fp32 in main memory.

Every loop over a block has a fixed rule and no branch, so that LLVM makes vector code of it. numba widens 32-bit
arithmetic to 64 bits, which halves the speed; the casts undo that. Importing this module compiles nothing: that
happens at the first call, and is kept on the disk (numba's cache) for the next process.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from fairseq_parp.sparsity.kernels import Counts, Keys
from fairseq_parp.sparsity.kernels.arrays import _POPCOUNT, Arrays

_MAGNITUDE = np.uint32(0x7FFF_FFFF)
_ZERO = np.uint32(0)
_BLOCK, _LOOKED_AT = np.uint64(128), np.uint64(64)
_EIGHT = np.uint64(8)


def _jit(function: Any) -> Any:
    """Compile at the first call, holding no lock of Python; without a cache where none can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:
        return numba.njit(function, nogil=True)


@_jit
def _count_keys(values: Any, low: Any, high: Any) -> Any:
    below, upto, top = np.int64(0), np.int64(0), _ZERO
    size = np.uint64(values.size)
    for start in range(np.uint64(0), size, _BLOCK):
        less, at_most = _ZERO, _ZERO
        for i in range(start, min(start + _BLOCK, size)):
            key = np.uint32(values[i] & _MAGNITUDE)
            less = np.uint32(less + np.uint32(key < low))
            at_most = np.uint32(at_most + np.uint32(key < high))
            top = max(top, key)
        below += np.int64(less)
        upto += np.int64(at_most)
    return below, upto, top


@_jit
def _collect_keys(values: Any, low: Any, high: Any, found: Any) -> None:
    """Write the keys in [low, high) to ``found``, which has room for one more: every key is written, few stay."""
    size, width, place = np.uint64(values.size), np.uint32(high - low), np.uint64(0)
    whole = size - size % _LOOKED_AT
    for start in range(np.uint64(0), whole, _LOOKED_AT):
        inside = _ZERO
        for i in range(_LOOKED_AT):
            inside = np.uint32(inside + np.uint32(np.uint32(np.uint32(values[start + i] & _MAGNITUDE) - low) < width))
        if inside:
            for i in range(_LOOKED_AT):
                key = np.uint32(values[start + i] & _MAGNITUDE)
                found[place] = key
                place += np.uint64(np.uint32(key - low) < width)
    for i in range(whole, size):
        key = np.uint32(values[i] & _MAGNITUDE)
        found[place] = key
        place += np.uint64(np.uint32(key - low) < width)


@_jit
def _sweep_block(values: Any, start: Any, stop: Any, key: Any, zero: Any, bits: Any) -> None:
    """Drop keys below ``key`` from ``start``, a multiple of 8, to ``stop``."""
    for byte in range(start // _EIGHT, stop // _EIGHT):
        kept = _ZERO
        for i in range(_EIGHT):
            magnitude = np.uint32(values[byte * _EIGHT + i] & _MAGNITUDE)
            kept = np.uint32(kept | np.uint32(np.uint32(magnitude >= key) << np.uint32(i)))
        bits[byte] = np.uint8(kept)
    if zero:
        for i in range(start, stop):
            value = values[i]
            values[i] = value if np.uint32(value & _MAGNITUDE) >= key else _ZERO


@_jit
def _sweep_singly(values: Any, start: Any, stop: Any, key: Any, split: Any, zero: Any, bits: Any) -> None:
    """Do the same where the rule changes within a block, or the last byte is not full."""
    for i in range(start, stop):
        kept = np.uint32(values[i] & _MAGNITUDE) >= np.uint32(key + np.uint32(i < split))
        if i % _EIGHT == 0:
            bits[i // _EIGHT] = np.uint8(0)
        bits[i // _EIGHT] |= np.uint8(kept) << np.uint8(i % _EIGHT)
        if zero and not kept:
            values[i] = _ZERO


@_jit
def _sweep_all(values: Any, key: Any, split: Any, zero: Any, bits: Any, before: Any, popcount: Any) -> Any:
    size, block = np.uint64(values.size), np.uint64(4096)
    ones, churn = np.int64(0), np.int64(0)
    for start in range(np.uint64(0), size, block):
        stop = min(start + block, size)
        if stop % _EIGHT or start < split < stop:
            _sweep_singly(values, start, stop, key, split, zero, bits)
        else:
            _sweep_block(values, start, stop, np.uint32(key + np.uint32(stop <= split)), zero, bits)
        for byte in range(start // _EIGHT, (stop + np.uint64(7)) // _EIGHT):
            ones += np.int64(popcount[bits[byte]])
            churn += np.int64(popcount[bits[byte] ^ before[byte]])
    return ones, churn


class Compiled(Arrays):
    """The passes of :class:`Arrays`, the two long ones replaced."""

    piece = 1 << 18

    def __init__(self) -> None:
        super().__init__(torch.float32)

    def count(self, values: Any, low: int, high: int) -> Counts:
        """Count in one pass; see :class:`Kernel`."""
        below, upto, top = _count_keys(values, np.uint32(low), np.uint32(max(low, high)))
        return Counts(below, upto - below, int(top))

    def collect(self, values: Any, low: int, high: int, size: int) -> Keys:
        """Skip the blocks where there is nothing."""
        found = np.empty(size + 1, np.uint32)
        _collect_keys(values, np.uint32(low), np.uint32(high), found)
        return found[:size]

    def sweep(
        self, values: Any, weights: Any | None, key: int, split: int, bits: Any, before: Any | None
    ) -> tuple[int, int]:
        """Zero, pack and compare in one pass, unless weights of another width have a say."""
        if weights is not None and weights is not values:
            return super().sweep(values, weights, key, split, bits, before)
        earlier = bits if before is None else before
        ones, churn = _sweep_all(
            values, np.uint32(key), np.uint64(split), weights is not None, bits, earlier, _POPCOUNT
        )
        return int(ones), int(churn)
