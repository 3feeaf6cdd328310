"""The two passes that cost time, in C++ (``passes.cpp``): fp32 in main memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch

from fairseq_parp.sparsity.kernels import Counts, Keys
from fairseq_parp.sparsity.kernels.arrays import Arrays

_PLACE, _COUNT, _KEY, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32, ctypes.c_int32


class Compiled(Arrays):
    """The passes of :class:`Arrays`, the two long ones replaced.

    Args:
        library: the compiled part.
        level: which of its implementations; the last one that this processor has, unless told.
    """

    piece = 1 << 20  # it makes no temporary arrays that would have to stay in the cache

    def __init__(self, library: ctypes.CDLL, level: int | None = None) -> None:
        super().__init__(torch.float32)
        self.level = levels(library) - 1 if level is None else level
        self._look, self._sweep = library.parp_look, library.parp_sweep
        self._look.argtypes = [_INT, _PLACE, _COUNT, _KEY, _KEY, _PLACE, _COUNT, _PLACE]
        self._sweep.argtypes = [_INT, _PLACE, _COUNT, _KEY, _COUNT, _INT, _PLACE, _PLACE, _PLACE]

    def look(self, values: Any, low: int, high: int, most: int) -> tuple[Counts, Keys | None]:
        """Count and collect in one pass; see :class:`Kernel`."""
        expected = min(most, values.size // 16)  # room for all would be as large as the piece
        counts, found = self._looked(values, low, high, expected)
        if expected < counts.inside <= most:
            counts, found = self._looked(values, low, high, counts.inside)
        return counts, found

    def sweep(
        self, values: Any, weights: Any | None, key: int, split: int, bits: Any, before: Any | None
    ) -> tuple[int, int]:
        """Zero, pack and compare in one pass, unless weights of another width have a say."""
        if weights is not None and weights is not values:
            return super().sweep(values, weights, key, split, bits, before)
        counts = (_COUNT * 2)()
        masks = _place(bits), None if before is None else _place(before)
        self._sweep(self.level, _place(values), values.size, key, split, weights is not None, *masks, counts)
        kept, churn = counts
        return kept, churn

    def _looked(self, values: Any, low: int, high: int, room: int) -> tuple[Counts, Keys | None]:
        found, counts = np.empty(room, np.uint32), (_COUNT * 3)()
        self._look(self.level, _place(values), values.size, low, high, _place(found), room, counts)
        below, inside, finite = counts
        return Counts(below, inside, bool(finite)), found[:inside].copy() if inside <= room else None


def _place(array: Any) -> Any:
    """Return where an array's elements are, in a third of the time that its attribute ``ctypes`` takes."""
    return ctypes.byref(ctypes.c_char.from_buffer(array)) if array.size else None


def levels(library: ctypes.CDLL) -> int:
    """Return how many implementations this processor has, for its vector units and for none."""
    return int(library.parp_levels())
