"""The passes over weights of a prune, in three implementations with equal results.

``compiled`` (C++) is the fast one, for fp32 weights in main memory; ``arrays`` (numpy) takes every floating-point type
there; ``tensors`` (torch) takes every device, and mixed types. :func:`choose` selects the implementation.

A pass goes over all chunks of all weights, on several threads. It sees *keys*: integers that order like magnitudes
and are equal exactly where magnitudes are equal. A key has the bits of the float without its sign. Zero, of either
sign, has key 0. Keys from :attr:`Kernel.infinity` on belong to infinity and NaN.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp import native

Keys = NDArray[Any]

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by which floats are viewed, by their bytes."""


class Found(NamedTuple):
    """The result of :meth:`Kernel.count_and_collect`.

    Attributes:
        below: number of keys of each chunk below a range; int64.
        inside: number of keys of each chunk inside the range; int64.
        finite: whether all values are finite.
        keys: the keys inside the range; None if they did not fit the buffer.
        starts: position of each chunk's first key in ``keys``; int64.
    """

    below: NDArray[np.int64]
    inside: NDArray[np.int64]
    finite: bool
    keys: Keys | None
    starts: NDArray[np.int64]


class ThresholdChunk(NamedTuple):
    """A chunk to which a threshold is applied.

    Attributes:
        values: the values that rank.
        weights: if given, its zeros are dropped too, and dropped weights become zero in it and in ``values``. It may be
            ``values`` itself.
        split: weights with the threshold's own key are dropped before this position.
        bits: output for the mask, 1 where a weight is kept.
        before: bits of an earlier mask.
    """

    values: Any
    weights: Any | None
    split: int
    bits: Any
    before: Any | None


class MaskChunk(NamedTuple):
    """A chunk to which a mask is applied.

    Attributes:
        values: the masked values.
        bits: the mask.
        stashed: buffer of exactly the number of dropped values, or None.
    """

    values: Any
    bits: Any
    stashed: Any | None


class MaskedCopy(NamedTuple):
    """A chunk into which weights are copied that a mask keeps.

    Attributes:
        into: becomes the weights where the mask keeps them, and zero elsewhere.
        weights: are not changed.
        bits: the mask.
    """

    into: Any
    weights: Any
    bits: Any


class Kernel(ABC):
    """Works on chunks: flat runs of weights, in the form that :meth:`flat` gives them.

    Attributes:
        chunk: elements of a chunk at most; a multiple of 8.
        infinity: the key of infinity.
    """

    chunk: int
    infinity: int

    @abstractmethod
    def flat(self, tensor: Tensor) -> Any:
        """Return a flat view that the passes take and that slices like a list; masks' bits have one as well."""

    @abstractmethod
    def sample(self, chunks: Sequence[Any], step: int) -> Keys:
        """Return every ``step``-th key, from the first one on, as an array in main memory."""

    @abstractmethod
    def count_and_collect(self, chunks: Sequence[Any], low: int, high: int, room: int) -> Found:
        """Count the keys below ``low`` and those inside, from ``low`` up to but not including ``high``.

        Args:
            room: how many keys inside are collected at most.
        """

    @abstractmethod
    def histogram(self, chunks: Sequence[Any], low: int, high: int, shift: int) -> NDArray[np.int64]:
        """Count ``(key - low) >> shift`` over the keys from ``low`` up to but not including ``high``."""

    @abstractmethod
    def nth_position(self, values: Any, key: int, rank: int) -> int:
        """Return the position in a chunk of the ``rank``-th (from 1) weight that has just that key.

        Raises:
            IndexError: there are fewer.
        """

    @abstractmethod
    def apply_threshold(self, targets: Sequence[ThresholdChunk], key: int) -> tuple[list[int], int]:
        """Drop the weights with a key below ``key``, and those with that key before a target's split.

        Returns:
            the number of kept weights of each target, and the churn since the earlier masks.
        """

    @abstractmethod
    def apply_mask(self, chunks: Sequence[MaskChunk]) -> None:
        """Zero the weights that the masks drop; their values are stashed, in order."""

    @abstractmethod
    def copy_masked(self, chunks: Sequence[MaskedCopy]) -> None:
        """Copy the weights that the masks keep, and zeros in place of the others."""

    def score_gradient(self, gradient: Tensor, weight: Tensor, scores: Tensor) -> Tensor:
        """Return ``gradient * weight * sign(scores)``, a new tensor of the gradient's type."""
        return gradient * weight * scores.sign().to(gradient.dtype)  # in this order: a rounded score can be 0

    @abstractmethod
    def scatter(self, chunks: Sequence[tuple[Any, Any]]) -> None:
        """Put values where zeros are: those of each chunk, in order, where it has as many zeros."""


_only: Kernel | None = None


@contextmanager
def using(kernel: Kernel) -> Iterator[None]:
    """Let one kernel do all the work within the block, to measure it; not for several threads."""
    global _only
    earlier, _only = _only, kernel
    try:
        yield
    finally:
        _only = earlier


def choose(tensors: Collection[Tensor]) -> Kernel:
    """Return the fastest kernel that can rank ``tensors`` together."""
    if _only is not None:
        return _only
    dtypes = {tensor.dtype for tensor in tensors}
    cpu = all(tensor.device.type == "cpu" for tensor in tensors)
    if len(dtypes) == 1 and cpu:
        from fairseq_parp.sparsity.kernels.arrays import Arrays

        return (load_compiled() if dtypes == {torch.float32} else None) or Arrays(*dtypes)
    from fairseq_parp.sparsity.kernels.tensors import Tensors

    return Tensors(torch.float64 in dtypes, cpu)


@functools.cache
def load_compiled() -> Kernel | None:
    """Return the compiled kernel, None if it was not compiled: the numpy kernel does the same."""
    from fairseq_parp.sparsity.kernels.compiled import Compiled

    library = native.load("sparsity.kernels.passes")
    return None if library is None else Compiled(library)
