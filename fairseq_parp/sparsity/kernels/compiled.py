"""The two passes that cost time, compiled by numba for this machine's vector unit: fp32 in main memory.

Importing this module compiles nothing: that happens at the first call, and is kept on the disk (numba's cache) for the
next process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fairseq_parp.compiling import jit
from fairseq_parp.sparsity.kernels import Counts, Keys
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.vectors import LANES, compared, keep, kept, lowest, ones

_MAGNITUDE, _INFINITY = np.uint32(0x7FFF_FFFF), np.uint32(0x7F80_0000)
_ZERO, _ONE, _EIGHT, _WIDE = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(LANES)


@jit
def _look(values: Any, low: Any, width: Any, found: Any) -> Any:
    """Count keys below ``low`` and inside [low, low + width), tell whether all are finite.

    The keys inside are written to ``found``, in order and as far as it has room.
    """
    below, inside, infinite = np.int64(0), np.int64(0), _ZERO
    size, room = np.uint64(values.size), found.size
    whole = size - size % _WIDE
    for start in range(_ZERO, whole, _WIDE):
        less, within, more = compared(values, start, low, width)
        below += ones(less)
        infinite |= more
        place = inside
        inside += ones(within)
        while within and place < room:
            found[place] = values[start + lowest(within)] & _MAGNITUDE
            place += 1
            within &= within - _ONE
    for i in range(whole, size):
        key = np.uint32(values[i] & _MAGNITUDE)
        below += np.int64(key < low)
        infinite |= np.uint64(key >= _INFINITY)
        if np.uint32(key - low) < width:
            if inside < room:
                found[inside] = key
            inside += 1
    return below, inside, infinite == _ZERO


@jit
def _sweep_words(values: Any, first: Any, last: Any, key: Any, zero: Any, words: Any, before: Any) -> Any:
    """Drop keys below ``key`` from word ``first`` to word ``last``; return how many are kept, and how many changed."""
    many, churn = np.int64(0), np.int64(0)
    for place in range(first, last):
        word = keep(values, place * _WIDE, key) if zero else kept(values, place * _WIDE, key)
        churn += ones(word ^ before[place])
        many += ones(word)
        words[place] = word
    return many, churn


@jit
def _sweep_singly(values: Any, start: Any, stop: Any, key: Any, split: Any, zero: Any, bits: Any, before: Any) -> Any:
    """Do the same from element ``start`` to ``stop``, where the rule changes at ``split`` or the last word ends."""
    many, churn = np.int64(0), np.int64(0)
    for i in range(start, stop):
        stays = np.uint32(values[i] & _MAGNITUDE) >= np.uint32(key + np.uint32(i < split))
        byte, bit = i // _EIGHT, np.uint8(1) << np.uint8(i % _EIGHT)
        many += np.int64(stays)
        churn += np.int64(stays != ((before[byte] & bit) != 0))
        bits[byte] = (bits[byte] | bit) if stays else (bits[byte] & ~bit)
        if zero and not stays:
            values[i] = np.uint32(0)
    return many, churn


@jit
def _sweep(values: Any, key: Any, split: Any, zero: Any, words: Any, old_words: Any, bits: Any, old_bits: Any) -> Any:
    """Sweep whole words of one rule, and what is between and after them singly."""
    size = np.uint64(values.size)
    whole = size // _WIDE
    one = min(split // _WIDE, whole)
    two = min(one + np.uint64(split % _WIDE > _ZERO), whole)
    m1, c1 = _sweep_words(values, _ZERO, one, np.uint32(key + np.uint32(1)), zero, words, old_words)
    m2, c2 = _sweep_singly(values, one * _WIDE, two * _WIDE, key, split, zero, bits, old_bits)
    m3, c3 = _sweep_words(values, two, whole, key, zero, words, old_words)
    m4, c4 = _sweep_singly(values, whole * _WIDE, size, key, split, zero, bits, old_bits)
    return m1 + m2 + m3 + m4, c1 + c2 + c3 + c4


class Compiled(Arrays):
    """The passes of :class:`Arrays`, the two long ones replaced."""

    piece = 1 << 20  # it makes no temporary arrays that would have to stay in the cache

    def __init__(self) -> None:
        super().__init__(torch.float32)

    def look(self, values: Any, low: int, high: int, most: int) -> tuple[Counts, Keys | None]:
        """Count and collect in one pass; see :class:`Kernel`."""
        expected = min(most, values.size // 16)  # room for all would be as large as the piece
        counts, found = _looked(values, low, high, expected)
        if expected < counts.inside <= most:
            counts, found = _looked(values, low, high, counts.inside)
        return counts, found

    def sweep(
        self, values: Any, weights: Any | None, key: int, split: int, bits: Any, before: Any | None
    ) -> tuple[int, int]:
        """Zero, pack and compare in one pass, unless weights of another width have a say."""
        if weights is not None and weights is not values:
            return super().sweep(values, weights, key, split, bits, before)
        earlier = np.zeros_like(bits) if before is None else before
        rule = np.uint32(key), np.uint64(split), weights is not None
        many, churn = _sweep(values, *rule, _words(bits), _words(earlier), bits, earlier)
        return int(many), 0 if before is None else int(churn)


def _looked(values: Any, low: int, high: int, room: int) -> tuple[Counts, Keys | None]:
    found = np.empty(room, np.uint32)
    counts = Counts(*_look(values, np.uint32(low), np.uint32(max(0, high - low)), found))
    return counts, found[: counts.inside].copy() if counts.inside <= room else None


def _words(bits: Any) -> Any:
    """Return the whole words of a mask's bits."""
    return bits[: bits.size - bits.size % 8].view(np.uint64)
