"""Long audio through a model whose memory grows with the square of the length: windows that overlap, then a stitch.

Each window gives the frames of its middle; its edges are context that the neighbours' middles cover. Windows start at
whole encoder frames, so the stitched frames are those of the whole audio: none is missing and none is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SECONDS = 40
"""Length of a window: audio up to this length is encoded whole. The utterances of LibriSpeech are at most 35 s."""

CONTEXT = 5
"""Seconds at each edge of a window that only lend context."""


class Window(NamedTuple):
    """A stretch of audio, and which of its frames are kept.

    Attributes:
        source: (samples,) of audio.
        first: first frame that is kept, counted from the window's own first.
        last: frame behind the last that is kept; None keeps all.
    """

    source: Tensor
    first: int
    last: int | None


def windows(blocks: Iterable[Tensor], size: int, context: int, stride: int) -> Iterator[Window]:
    """Yield the windows of audio that comes in blocks; no more than a window and a block are held.

    Args:
        blocks: (samples,) each, in order.
        size: samples of a window.
        context: samples at each edge that only lend context.
        stride: samples from one encoder frame to the next.

    >>> audio = torch.arange(100).split(30)
    >>> [(int(part[0]), int(part[-1]), first, last) for part, first, last in windows(audio, 40, 10, 5)]
    [(0, 39, 0, 6), (20, 59, 2, 6), (40, 79, 2, 6), (60, 99, 2, None)]
    """
    edge = context // stride
    step = size // stride - 2 * edge
    held, first = torch.empty(0), 0
    for block in blocks:
        held = torch.cat((held, block)) if len(held) else block
        while len(held) > size:
            yield Window(held[:size], first, edge + step)
            held, first = held[step * stride :], edge
    yield Window(held, first, None)
