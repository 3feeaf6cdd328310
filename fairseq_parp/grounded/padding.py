"""Padding within convolutions over time: frames beyond the utterance are zero before every one of them."""

from __future__ import annotations

import torch
from torch import Tensor


def without_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return ``x`` (B, C, T) with zeros from each utterance's length on."""
    return x.masked_fill(~within(lengths, x.shape[-1])[:, None], 0)


def within(lengths: Tensor, size: int) -> Tensor:
    """Return (B, size) which frames are of the utterance."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def halved(lengths: Tensor) -> Tensor:
    """Return lengths behind a convolution of stride 2 and "same" padding.

    >>> halved(torch.tensor([1, 4, 5])).tolist()
    [1, 2, 3]
    """
    return (lengths + 1) // 2
