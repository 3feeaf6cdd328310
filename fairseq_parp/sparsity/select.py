"""The exact k smallest magnitudes over many tensors, without ever laying them side by side.

A sample brackets the threshold. One pass over all weights counts the keys below the bracket and collects the few keys
inside it, among which the threshold is selected exactly. If the bracket of the sample misses the threshold, a
histogram of the part that contains it gives a new bracket, so no input takes more than a few passes. A second pass
zeroes weights, packs the mask and counts churn. :mod:`fairseq_parp.sparsity.kernels` implements the passes; the result
does not depend on the implementation, the sample or the number of threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.errors import WeightsError
from fairseq_parp.sparsity import kernels
from fairseq_parp.sparsity.kernels import Found, Kernel, Keys, ThresholdChunk
from fairseq_parp.sparsity.packing import room_for_bits

MIN_SAMPLE = 1 << 12
"""Keys in a sample at least. Those beyond make the bracket fit its room: more would take longer to fetch and sort."""

DEVIATIONS = 3
"""Half the bracket's width, in standard deviations of the sample's rank: one sample in 370 misses the threshold."""

MAX_COLLECTED = 1 / 128
"""Of all weights: more keys inside a bracket are not collected, but narrowed down."""

SMALL = 1 << 16
"""Weights up to which all keys are collected, and in all cases as many may be."""

FILLED = 0.8
"""Part of the room for collected keys that a bracket is planned to fill."""

BINS = 1 << 16


class Threshold(NamedTuple):
    """Where the k smallest magnitudes end: before this key at this position, keys first.

    So equal magnitudes go by order: parameter by parameter in the model's order, and within one by flat index.

    Attributes:
        key: the magnitude's bits, as the kernel that found it understands them.
        position: flat, over all tensors of the group; elements of just this key go where they stand before it.
    """

    key: int
    position: int

    def include_zeros(self) -> Threshold:
        """Return the threshold that includes all zeros, even more than k of them: pruning a zero changes nothing."""
        return max(self, _ZEROS)

    @property
    def displaces(self) -> bool:
        """Whether anything lies before it that is not zero."""
        return self > _ZEROS


_ZEROS = Threshold(1, 0)
"""Behind all zeros."""


class Selected(NamedTuple):
    """A mask's bits and how many weights it keeps, by parameter name, and how many of all changed sides."""

    bits: dict[str, Tensor]
    kept: dict[str, int]
    churn: int


class _Chunk(NamedTuple):
    name: str
    start: int  # in the tensor
    position: int  # in the group
    values: Any


class Ranking:
    """Tensors whose magnitudes are ranked together, as flat chunks: :meth:`threshold`, then :meth:`apply_threshold`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.kernel = kernels.choose(tensors.values())
        self.chunks = _chunks(self.kernel, tensors)

    def threshold(self, k: int, update: int | None = None) -> Threshold:
        """Find where the ``k`` smallest magnitudes of all tensors together end.

        Args:
            k: between 0 and the number of elements.
            update: named in the error message.

        Raises:
            WeightsError: a value is NaN or infinite.
        """
        search = _Search(self.kernel, self.chunks, k)
        threshold = search.run()
        if not search.finite:
            raise _not_finite(self.tensors, update)
        return threshold

    def apply_threshold(
        self,
        threshold: Threshold,
        weights: Mapping[str, Tensor] | None = None,
        before: Mapping[str, Tensor] | None = None,
    ) -> Selected:
        """Make the mask that drops the weights below the threshold.

        Args:
            threshold: threshold of the present tensors.
            weights: if given, their zeros are dropped too, and dropped weights become zero in them and in the ranked
                tensors. They may be the same tensors.
            before: bits of an earlier mask by the same names, to count churn.
        """
        flat = self.kernel.flat
        bits = {name: room_for_bits(tensor) for name, tensor in self.tensors.items()}
        masks = {name: flat(packed) for name, packed in bits.items()}
        earlier = None if before is None else {name: flat(before[name]) for name in bits}
        others = {} if weights is None else {
            name: flat(weights[name]) for name, tensor in self.tensors.items() if weights[name] is not tensor
        }  # fmt: skip

        def target(chunk: _Chunk) -> ThresholdChunk:
            stop = chunk.start + len(chunk.values)
            within, packed = slice(chunk.start, stop), slice(chunk.start // 8, -(-stop // 8))
            into = None if weights is None else others[chunk.name][within] if chunk.name in others else chunk.values
            split = min(max(threshold.position - chunk.position, 0), len(chunk.values))
            old = None if earlier is None else earlier[chunk.name][packed]
            return ThresholdChunk(chunk.values, into, split, masks[chunk.name][packed], old)

        kept, churn = self.kernel.apply_threshold([target(chunk) for chunk in self.chunks], threshold.key)
        totals = dict.fromkeys(bits, 0)
        for chunk, count in zip(self.chunks, kept, strict=True):
            totals[chunk.name] += count
        return Selected(bits, totals, churn)


class _Search:
    """The search for one threshold. ``finite``: whether all keys seen so far are."""

    def __init__(self, kernel: Kernel, chunks: Sequence[_Chunk], k: int) -> None:
        self.kernel, self.chunks, self.k = kernel, chunks, k
        self.values = [chunk.values for chunk in chunks]
        self.size = sum(map(len, self.values))
        self.finite = True

    def run(self) -> Threshold:
        """Return the threshold; its key lies in [start, stop) all along, and ``less`` keys lie below ``start``."""
        start, stop, less = 0, self.kernel.infinity, 0
        low, high = self._bracket()
        while True:
            found = self._count_and_collect(low, high)
            below, inside = int(found.below.sum()), int(found.inside.sum())
            if below == self.k or not self.finite:
                return Threshold(low, 0)
            if below < self.k <= below + inside:
                if found.keys is not None:
                    return self._among(found, found.keys, self.k - below)
                if high - low == 1:
                    return self._threshold_at(low, found.inside, self.k - below)
                start, stop, less = low, high, below
            elif self.k < below:
                if low == 1:
                    return self._threshold_at(0, found.below, self.k)
                stop = low
            else:
                start, less = high, below + inside
            low, high, less = self._narrow(start, stop, less)
            start, stop = low, high

    def _bracket(self) -> tuple[int, int]:
        """Guess a range [low, high) of few keys that the threshold's is among."""
        if self.k == 0:
            return 0, 0
        if self.size <= SMALL:
            return 1, self.kernel.infinity
        fitting = (DEVIATIONS * self.size / (FILLED * self._room)) ** 2  # for a median, the widest bracket
        step = int(self.size / (MIN_SAMPLE + fitting)) | 1  # odd: no power of two in shapes is in step
        sample = self.kernel.sample(self.values, step)
        rank = self.k / self.size * len(sample)
        width = DEVIATIONS * (rank * (1 - self.k / self.size)) ** 0.5 + 1
        first, last = int(rank - width), int(rank + width)
        edges = [place for place in (first, last) if 0 <= place < len(sample)]
        sample.sort()  # numpy does that with vectors, and takes longer to partition at two places
        lowest = int(sample[first]) if first in edges else 0
        highest = int(sample[last]) if last in edges else self.kernel.infinity
        if lowest == highest:  # many weights have this magnitude: one pass counts them all
            return lowest, lowest + 1
        return lowest + (first in edges), highest

    def _count_and_collect(self, low: int, high: int) -> Found:
        """Count the keys below and inside [low, high), and collect those inside."""
        room = self._room if high - low > 1 else 0
        found = self.kernel.count_and_collect(self.values, low, high, room)
        self.finite = self.finite and found.finite
        return found

    @property
    def _room(self) -> int:
        """How many keys are collected at most."""
        return max(SMALL, int(self.size * MAX_COLLECTED))

    def _narrow(self, start: int, stop: int, less: int) -> tuple[int, int, int]:
        """Return the part of [start, stop) that holds the threshold's key, and the number of keys below it."""
        shift = max(0, (stop - start - 1).bit_length() - (BINS - 1).bit_length())
        sums = less + self.kernel.histogram(self.values, start, stop, shift).cumsum()
        place = int(np.searchsorted(sums, self.k))
        low = start + (place << shift)
        return low, min(stop, low + (1 << shift)), int(sums[place - 1]) if place else less

    def _among(self, found: Found, keys: Keys, rank: int) -> Threshold:
        """Return the threshold whose key is the ``rank``-th smallest (from 1) of those collected."""
        key = int(np.partition(keys, rank - 1)[rank - 1])
        equal, ties = keys == key, rank - int(np.count_nonzero(keys < key))
        if ties == np.count_nonzero(equal):  # all of them, as nearly always: no position has to be found
            return Threshold(key + 1, 0)
        first, last = np.searchsorted(np.flatnonzero(equal), (found.starts, found.starts + found.inside))
        return self._threshold_at(key, last - first, ties)

    def _threshold_at(self, key: int, equal: NDArray[np.int64], ties: int) -> Threshold:
        """Return the threshold behind the first ``ties`` elements of a key, of which each chunk has ``equal``."""
        ends = np.cumsum(equal)
        which = int(np.searchsorted(ends, ties))
        chunk = self.chunks[which]
        within = self.kernel.nth_position(chunk.values, key, ties - int(ends[which] - equal[which]))
        return Threshold(key, chunk.position + within + 1)


def _chunks(kernel: Kernel, tensors: Mapping[str, Tensor]) -> list[_Chunk]:
    chunks, position = [], 0
    for name, tensor in tensors.items():
        values = kernel.flat(tensor)
        for start in range(0, len(values), kernel.chunk):
            chunks.append(_Chunk(name, start, position + start, values[start : start + kernel.chunk]))
        position += len(values)
    return chunks


def _not_finite(tensors: Mapping[str, Tensor], update: int | None) -> WeightsError:
    bad = {name: int((~torch.isfinite(tensor.detach())).sum()) for name, tensor in tensors.items()}
    return next(WeightsError(name, count, update) for name, count in bad.items() if count)
