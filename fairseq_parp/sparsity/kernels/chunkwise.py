"""Passes that go over the chunks in Python, on several threads."""

from __future__ import annotations

import itertools
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fairseq_parp.sparsity import packing
from fairseq_parp.sparsity.kernels import Found, Kernel, Keys, MaskChunk, MaskedCopy, ThresholdChunk

WORTH_THREADS = 1 << 22
"""Weights from which on more than one thread is started."""

T = TypeVar("T")
R = TypeVar("R")


def together(work: Callable[[], None], threads: int, weights: int) -> None:
    """Let ``threads`` do ``work``; only one where so few weights are not worth more."""
    if threads == 1 or weights < WORTH_THREADS:
        work()
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()


class Counts(NamedTuple):
    """The counts of one chunk, as :class:`Found` has them for all chunks."""

    below: int
    inside: int
    finite: bool


def size(chunks: Iterable[Any]) -> int:
    """Return how many weights there are in all."""
    return sum(map(len, chunks))


class Chunkwise(Kernel):
    """Makes passes over all chunks from a subclass's operations on one chunk."""

    @property
    def threads(self) -> int:
        """How many chunks may be worked on at a time."""
        return torch.get_num_threads()

    def sample(self, chunks: Sequence[Any], step: int) -> Keys:
        """Slice every chunk where the one before left off; see :class:`Kernel`."""
        positions = itertools.accumulate(map(len, chunks), initial=0)
        slices = [values[-position % step :: step] for values, position in zip(chunks, positions, strict=False)]
        return np.concatenate(self._over(slices, self._keys_of, size(chunks)))

    def count_and_collect(self, chunks: Sequence[Any], low: int, high: int, room: int) -> Found:
        """Count and collect in all chunks; see :class:`Kernel`. Once the room is full, no more keys are collected."""
        lock, left = threading.Lock(), room

        def one(values: Any) -> tuple[Counts, Keys | None]:
            nonlocal left
            counts, keys = self._count_and_collect_in(values, low, high, max(0, left))
            with lock:
                left -= counts.inside
            return counts, keys

        done = self._over(chunks, one, size(chunks))
        below, inside, finite = np.array([counts for counts, _ in done], np.int64).reshape(-1, 3).T
        parts = [keys for _, keys in done if keys is not None]
        keys = np.concatenate(parts) if parts and left >= 0 else None
        return Found(below, inside, bool(finite.all()), keys, inside.cumsum() - inside)

    def histogram(self, chunks: Sequence[Any], low: int, high: int, shift: int) -> NDArray[np.int64]:
        """Add up the histograms of all chunks; see :class:`Kernel`."""
        total = np.zeros(((high - 1 - low) >> shift) + 1, np.int64)
        lock = threading.Lock()

        def one(values: Any) -> None:
            counts = self._histogram_of(values, low, high, shift)
            with lock:
                np.add(total, counts, out=total)

        self._over(chunks, one, size(chunks))
        return total

    def nth_position(self, values: Any, key: int, rank: int) -> int:
        """Search one chunk after the other, for little memory; see :class:`Kernel`."""
        for start in range(0, len(values), packing.CHUNK):
            places = self._places_of(values[start : start + packing.CHUNK], key)
            if rank <= len(places):
                return start + int(places[rank - 1])
            rank -= len(places)
        raise IndexError(f"{rank} weights too few have the key {key}")

    def apply_threshold(self, targets: Sequence[ThresholdChunk], key: int) -> tuple[list[int], int]:
        """Apply the threshold to all chunks, then count bits; see :class:`Kernel`."""
        self._over(targets, lambda target: self._apply_threshold_to(target, key), size(each.values for each in targets))
        kept = [self._ones(target.bits) for target in targets]
        return kept, sum(self._ones(bits ^ before) for *_, bits, before in targets if before is not None)

    def apply_mask(self, chunks: Sequence[MaskChunk]) -> None:
        """Apply the mask part by part, for little memory; see :class:`Kernel`."""

        def one(chunk: MaskChunk) -> None:
            values, bits, stashed = chunk
            taken = 0
            for start in range(0, len(values), self.chunk):
                part = values[start : start + self.chunk]
                taken += self._apply_mask_to(
                    part, bits[start // 8 : (start + self.chunk) // 8], None if stashed is None else stashed[taken:]
                )

        self._over(chunks, one, size(chunk.values for chunk in chunks))

    def copy_masked(self, chunks: Sequence[MaskedCopy]) -> None:
        """Copy all, then apply the mask; see :class:`Kernel`."""
        for chunk in chunks:
            chunk.into[:] = chunk.weights
        self.apply_mask([MaskChunk(chunk.into, chunk.bits, None) for chunk in chunks])

    def scatter(self, chunks: Sequence[tuple[Any, Any]]) -> None:
        """Fill part by part, for little memory; see :class:`Kernel`."""

        def one(chunk: tuple[Any, Any]) -> None:
            values, stashed = chunk
            taken = 0
            for start in range(0, len(values), self.chunk):
                taken += self._scatter_into(values[start : start + self.chunk], stashed[taken:])

        self._over(chunks, one, size(values for values, _ in chunks))

    def _over(self, items: Sequence[T], work: Callable[[T], R], weights: int) -> list[R]:
        """Do ``work`` on every item and return the results in order; each thread takes the next item that is left."""
        results: list[Any] = [None] * len(items)
        left = iter(range(len(items)))

        def take() -> None:
            for index in left:
                results[index] = work(items[index])

        together(take, self.threads, weights)
        return results

    @abstractmethod
    def _keys_of(self, values: Any) -> Keys: ...

    @abstractmethod
    def _count_and_collect_in(self, values: Any, low: int, high: int, room: int) -> tuple[Counts, Keys | None]: ...

    @abstractmethod
    def _histogram_of(self, values: Any, low: int, high: int, shift: int) -> NDArray[np.int64]: ...

    @abstractmethod
    def _places_of(self, values: Any, key: int) -> Any: ...

    @abstractmethod
    def _apply_threshold_to(self, target: ThresholdChunk, key: int) -> None: ...

    @abstractmethod
    def _apply_mask_to(self, values: Any, bits: Any, stashed: Any | None) -> int:
        """Apply a mask to one part, stash the dropped values in the first places, and return their number."""

    @abstractmethod
    def _scatter_into(self, values: Any, stashed: Any) -> int:
        """Fill the zeros of one part from the first stashed values, and return their number."""

    @abstractmethod
    def _ones(self, bits: Any) -> int: ...
