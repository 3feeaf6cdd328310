"""The exact k smallest magnitudes over many tensors, without ever laying them side by side.

A float's bits, sign removed, order like its magnitude. So the k-th smallest magnitude is found digit by
digit from histograms of those bits (a radix selection). Histograms are counts: they add up over chunks,
tensors and, later, ranks. Extra memory is a few chunks, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_parp.errors import ParpError, WeightsError

CHUNK = 1 << 17
"""Elements looked at together; a multiple of 8, so that packed masks split at bytes."""

_DIGITS_32 = ((15, 16), (0, 15))
_DIGITS_64 = ((47, 16), (31, 16), (15, 16), (0, 15))


@dataclass
class Cut:
    """Where the k smallest magnitudes end: all keys below ``key``, and the first ``ties`` equal to it.

    Ties go by order: parameter by parameter in the model's order, and within one by flat index.
    """

    key: int
    ties: int


def chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Yield flat views of ``tensor``, :data:`CHUNK` elements each.

    Raises:
        ParpError: the tensor is not contiguous, so that a flat view of it cannot be written to.
    """
    if not tensor.is_contiguous():
        raise ParpError(f"cannot prune a tensor of shape {tuple(tensor.shape)} whose memory is not contiguous")
    yield from tensor.detach().view(-1).split(CHUNK) if tensor.numel() else ()


def magnitude_keys(values: Tensor) -> Tensor:
    """Return integers that order like ``|values|``, equal exactly where magnitudes are equal.

    float16 and bfloat16 become float32 first, which is exact. Zero, of either sign, is key 0.
    """
    if values.dtype == torch.float64:
        return values.view(torch.int64) & 0x7FFF_FFFF_FFFF_FFFF
    return values.float().view(torch.int32) & 0x7FFF_FFFF


def find_cut(tensors: Mapping[str, Tensor], k: int, update: int | None = None) -> Cut:
    """Find where the ``k`` smallest magnitudes of all ``tensors`` together end.

    Args:
        tensors: by name, of one floating-point width (64 bits, or at most 32).
        k: between 0 and the number of elements.
        update: named in the error message.

    Raises:
        WeightsError: a value is NaN or infinite.
    """
    wide = any(tensor.dtype == torch.float64 for tensor in tensors.values())
    digits = _DIGITS_64 if wide else _DIGITS_32
    key, left = 0, k
    for position, (shift, width) in enumerate(digits):
        histogram = _histogram(tensors, key if position else None, shift, width)
        if position == 0:
            _require_finite(tensors, histogram, first_infinite=(0x7FF0 if wide else 0xFF00), update=update)
            if k == 0:
                return Cut(key=0, ties=0)
        totals = histogram.cumsum(0)
        digit = int(torch.searchsorted(totals, left))
        left -= int(totals[digit - 1]) if digit else 0
        key = (key << width) | digit
    return Cut(key=key, ties=left)


def zero_smallest_(ranked: Tensor, targets: Tensor, cut: Cut) -> None:
    """Zero ``targets`` in place wherever ``ranked`` (same shape) lies below the cut.

    Ties that are used up are taken off ``cut``: call it tensor by tensor, in order.
    """
    for below, target in zip(below_cut(ranked, cut), chunks(targets), strict=True):
        target.masked_fill_(below, 0)


def below_cut(ranked: Tensor, cut: Cut) -> Iterator[Tensor]:
    """Yield booleans, chunk by chunk: is this one of the k smallest? Uses up ties as :func:`zero_smallest_` does."""
    for values in chunks(ranked):
        keys = magnitude_keys(values)
        below = keys < cut.key
        if cut.ties:
            _take_ties(keys, below, cut)
        yield below


def _take_ties(keys: Tensor, below: Tensor, cut: Cut) -> None:
    ties = (keys == cut.key).nonzero().view(-1)[: cut.ties]
    below[ties] = True
    cut.ties -= len(ties)


def _histogram(tensors: Mapping[str, Tensor], prefix: int | None, shift: int, width: int) -> Tensor:
    """Count the digit of ``width`` bits above ``shift``, among keys that start with ``prefix``."""
    total = torch.zeros(1 << width, dtype=torch.int64)
    for tensor in tensors.values():
        for values in chunks(tensor):
            digits = magnitude_keys(values) >> shift
            if prefix is not None:
                digits = digits[(digits >> width) == prefix] & ((1 << width) - 1)
            total += torch.bincount(digits, minlength=1 << width).cpu()
    return total


def _require_finite(tensors: Mapping[str, Tensor], histogram: Tensor, first_infinite: int, update: int | None) -> None:
    if not int(histogram[first_infinite:].sum()):
        return
    for name, tensor in tensors.items():
        bad = int((~torch.isfinite(tensor.detach())).sum())
        if bad:
            raise WeightsError(name, bad, update)
