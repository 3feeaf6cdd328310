"""The passes that cost time, in C++ (``passes.cpp``): fp32 in main memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fairseq_parp.sparsity.kernels import Found, Keys, Target
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.piecewise import together

_PLACE, _COUNT, _KEY, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32, ctypes.c_int32


class Compiled(Arrays):
    """The passes of :class:`Arrays`, three of them replaced: each thread makes one call for all pieces that it takes.

    Args:
        library: the compiled part.
        level: which of its implementations; the last one that this processor has, unless told.
    """

    piece = 1 << 20  # it makes no temporary arrays that would have to stay in the cache

    def __init__(self, library: ctypes.CDLL, level: int | None = None) -> None:
        super().__init__(torch.float32)
        self.level = levels(library) - 1 if level is None else level
        self._sample, self._look, self._sweep = library.parp_sample, library.parp_look, library.parp_sweep
        self._sample.argtypes = [_PLACE, _PLACE, _COUNT, _PLACE]
        self._look.argtypes = [_PLACE, _PLACE, _INT, _KEY, _KEY, _PLACE, _COUNT, _COUNT]
        self._sweep.argtypes = [_PLACE, _PLACE, _INT, _KEY]

    def sample(self, pieces: Sequence[Any], step: int) -> Keys:
        """Read at a fixed distance; see :class:`Kernel`."""
        positions = list(accumulate(map(len, pieces), initial=0))
        sampled = _table(
            "values size first start",
            [
                (_place(values), len(values), -position % step, -(-position // step))
                for values, position in zip(pieces, positions[:-1], strict=True)
            ],
        )
        keys = np.empty(-(-positions[-1] // step), np.uint32)
        _pass(sampled, self.threads, lambda _, *pieces: self._sample(*pieces, step, _place(keys)))
        return keys

    def look(self, pieces: Sequence[Any], low: int, high: int, room: int) -> Found:
        """Count and collect in one pass; see :class:`Kernel`."""
        looked = _table("values size below inside finite start", [(_place(at), len(at), 0, 0, 0, 0) for at in pieces])
        threads = self.threads
        found = np.empty(threads * room, np.uint32)  # what is not used of it takes no memory

        def work(thread: int, *pieces: int) -> None:
            self._look(*pieces, self.level, low, high, _place(found), thread * room, (thread + 1) * room)

        _pass(looked, threads, work)
        inside = looked["inside"]
        parts = [found[start : start + many] for start, many in zip(looked["start"], inside, strict=True)]
        keys = np.concatenate(parts) if parts and inside.sum() <= room else None
        return Found(looked["below"], inside, bool(looked["finite"].all()), keys)

    def sweep(self, targets: Sequence[Target], key: int) -> tuple[int, int]:
        """Zero, pack and compare in one pass, unless other weights than those that rank have a say."""
        if any(each.weights is not None and each.weights is not each.values for each in targets):
            return super().sweep(targets, key)
        swept = _table(
            "values size split zero bits before kept churn",
            [
                (_place(values), len(values), split, weights is not None, _place(bits), _place(before), 0, 0)
                for values, weights, split, bits, before in targets
            ],
        )
        _pass(swept, self.threads, lambda _, *pieces: self._sweep(*pieces, self.level, key))
        return int(swept["kept"].sum()), int(swept["churn"].sum())


def _pass(pieces: NDArray[Any], threads: int, work: Callable[..., None]) -> None:
    """Let threads do ``work`` with their number, how many pieces there are and how many are taken, and the pieces."""
    counts = np.array([len(pieces), 0], np.int64)
    together(lambda thread: work(thread, _place(counts), _place(pieces)), threads, int(pieces["size"].sum()))


def _table(names: str, rows: Sequence[tuple[int, ...]]) -> NDArray[Any]:
    """Return what a pass is told of each piece, and then tells of it, as ``passes.cpp`` has it."""
    return np.array(rows, [(name, np.int64) for name in names.split()])


def _place(array: Any) -> int:
    """Return where an array lies in memory (0 for none), in a third of the time that its own attributes take."""
    return 0 if array is None or not array.size else ctypes.addressof(ctypes.c_char.from_buffer(array))


def levels(library: ctypes.CDLL) -> int:
    """Return how many implementations this processor has, for its vector units and for none."""
    return int(library.parp_levels())
