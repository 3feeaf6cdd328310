"""Long audio through a model whose memory grows with the square of the length: windows that overlap, then a stitch.

Each window gives the frames of its middle; its edges are context that the neighbours' middles cover. Windows start at
whole encoder frames, so that the stitched frames are those of the whole audio: nothing is cut out, nothing is there
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SECONDS = 40
"""Length of a window: audio up to this length is encoded whole. The utterances of LibriSpeech are at most 35 s."""

CONTEXT = 5
"""Seconds at each edge of a window that only lend context."""


class Window(NamedTuple):
    """A stretch of audio, and which of its frames are kept.

    Attributes:
        start: first sample.
        end: sample behind the last one.
        first: first frame that is kept, counted from the window's own first.
        last: frame behind the last that is kept; None keeps all.
    """

    start: int
    end: int
    first: int
    last: int | None


def windows(samples: int, size: int, context: int, stride: int) -> Iterator[Window]:
    """Yield the windows of audio of so many samples.

    Args:
        samples: length of the audio.
        size: samples of a window.
        context: samples at each edge that only lend context.
        stride: samples from one encoder frame to the next.

    >>> [tuple(window) for window in windows(100, 40, 10, 5)]
    [(0, 40, 0, 6), (20, 60, 2, 6), (40, 80, 2, 6), (60, 100, 2, None)]
    """
    edge = context // stride
    step = size // stride - 2 * edge
    start = 0
    while start + size < samples:
        yield Window(start, start + size, edge if start else 0, edge + step)
        start += step * stride
    yield Window(start, samples, edge if start else 0, None)
