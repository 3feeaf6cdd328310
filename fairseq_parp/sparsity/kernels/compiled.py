"""The expensive passes in C++ (``passes.cpp``), for fp32 in main memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.sparsity.kernels import Found, Keys, MaskChunk, MaskedCopy, ThresholdChunk
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.chunkwise import size, together

_PLACE, _COUNT, _KEY, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32, ctypes.c_int32


class Compiled(Arrays):
    """The passes of :class:`Arrays`, most of them replaced.

    Args:
        library: the compiled part.
        level: which of its implementations; the last one that this processor has by default.
    """

    def __init__(self, library: ctypes.CDLL, level: int | None = None) -> None:
        super().__init__(torch.float32)
        self.level = levels(library) - 1 if level is None else level
        self._sample, self._count_and_collect, self._apply_threshold = (
            library.parp_sample,
            library.parp_count_and_collect,
            library.parp_apply_threshold,
        )
        self._sample.argtypes = [_PLACE, _COUNT, _COUNT, _PLACE]
        self._count_and_collect.argtypes = [_PLACE, _PLACE, _INT, _KEY, _KEY, _PLACE, _PLACE, _COUNT]
        self._apply_threshold.argtypes = [_PLACE, _PLACE, _INT, _KEY]
        self._apply_mask, self._scatter = library.parp_apply_mask, library.parp_scatter
        self._apply_mask.argtypes = [_PLACE, _COUNT, _PLACE, _PLACE]
        self._scatter.argtypes = [_PLACE, _COUNT, _PLACE]
        self._copy_masked, self._score_gradient = library.parp_copy_masked, library.parp_score_gradient
        self._copy_masked.argtypes = [_PLACE, _PLACE, _COUNT, _PLACE, _INT]
        self._score_gradient.argtypes = [_PLACE, _PLACE, _PLACE, _PLACE, _COUNT, _INT]

    def sample(self, chunks: Sequence[Any], step: int) -> Keys:
        """Take keys at a fixed distance, on one thread: more would take longer to start."""
        keys = np.empty(-(-size(chunks) // step), np.uint32)
        sampled = _table("values size", [(_place(values), len(values)) for values in chunks])
        self._sample(_place(sampled), len(sampled), step, _place(keys))
        return keys

    def count_and_collect(self, chunks: Sequence[Any], low: int, high: int, room: int) -> Found:
        """Count and collect in one pass; see :class:`Kernel`."""
        counted = _table("values size below inside finite start", [(_place(at), len(at), 0, 0, 0, 0) for at in chunks])
        found = np.empty(room, np.uint32)

        def work(*chunks: int) -> None:
            own = np.empty(room, np.uint32)  # its unused part takes no memory
            self._count_and_collect(*chunks, self.level, low, high, _place(found), _place(own), room)

        self._pass(counted, work)
        total = int(counted["inside"].sum())
        keys = found[:total] if total <= room else None
        return Found(counted["below"], counted["inside"], bool(counted["finite"].all()), keys, counted["start"])

    def apply_threshold(self, targets: Sequence[ThresholdChunk], key: int) -> tuple[list[int], int]:
        """Zero, pack and compare in one pass, unless other weights than the ranked ones are zeroed."""
        if any(each.weights is not None and each.weights is not each.values for each in targets):
            return super().apply_threshold(targets, key)
        swept = _table(
            "values size split zero bits before kept churn",
            [
                (_place(values), len(values), split, weights is not None, _place(bits), _place(before), 0, 0)
                for values, weights, split, bits, before in targets
            ],
        )
        self._pass(swept, lambda *chunks: self._apply_threshold(*chunks, self.level, key))
        return swept["kept"].tolist(), int(swept["churn"].sum())

    def apply_mask(self, chunks: Sequence[MaskChunk]) -> None:
        """Zero and stash in one pass; see :class:`Kernel`."""

        def one(chunk: MaskChunk) -> None:
            self._apply_mask(_place(chunk.values), len(chunk.values), _place(chunk.bits), _place(chunk.stashed))

        self._over(chunks, one, size(chunk.values for chunk in chunks))

    def copy_masked(self, chunks: Sequence[MaskedCopy]) -> None:
        """Copy and mask in one pass; see :class:`Kernel`."""

        def one(chunk: MaskedCopy) -> None:
            into, weights, bits = map(_place, chunk)
            self._copy_masked(into, weights, len(chunk.into), bits, self.level)

        self._over(chunks, one, size(chunk.into for chunk in chunks))

    def score_gradient(self, gradient: Tensor, weight: Tensor, scores: Tensor) -> Tensor:
        """Multiply in one pass; see :class:`Kernel`."""
        if not (gradient.is_contiguous() and weight.is_contiguous() and scores.is_contiguous()):
            return super().score_gradient(gradient, weight, scores)
        found = torch.empty_like(gradient)
        flat = [self.flat(each) for each in (found, gradient, weight, scores)]

        def one(start: int) -> None:
            chunks = [each[start : start + self.chunk] for each in flat]
            self._score_gradient(*map(_place, chunks), len(chunks[0]), self.level)

        self._over(range(0, len(flat[0]), self.chunk), one, len(flat[0]))
        return found

    def scatter(self, chunks: Sequence[tuple[Any, Any]]) -> None:
        """Find zeros and put values there in one pass; see :class:`Kernel`."""

        def one(chunk: tuple[Any, Any]) -> None:
            self._scatter(_place(chunk[0]), len(chunk[0]), _place(chunk[1]))

        self._over(chunks, one, size(values for values, _ in chunks))

    def _pass(self, chunks: NDArray[Any], work: Callable[[int, int], None]) -> None:
        """Let threads do ``work`` on counts that they share, and on the chunks."""
        counts = np.array([len(chunks), 0, 0], np.int64)
        together(lambda: work(_place(counts), _place(chunks)), self.threads, int(chunks["size"].sum()))


def _table(names: str, rows: Sequence[tuple[int, ...]]) -> NDArray[Any]:
    """Return one row a chunk: the inputs and outputs of a pass, in the layout of ``passes.cpp``."""
    return np.array(rows, [(name, np.int64) for name in names.split()])


def _place(array: Any) -> int:
    """Return where an array lies in memory (0 for none), in a third of the time that its own attributes take."""
    return 0 if array is None or not array.size else ctypes.addressof(ctypes.c_char.from_buffer(array))


def levels(library: ctypes.CDLL) -> int:
    """Return how many implementations this processor has, for its vector units and for none."""
    return int(library.parp_levels())
