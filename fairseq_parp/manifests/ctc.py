"""Computes whether CTC can align labels to audio: the encoder must give at least one frame for each label.

Equal neighbours need a blank between them, and therefore one frame more. fairseq's recipes set
``criterion.zero_infinity``, which turns an utterance that cannot be aligned into a silent loss of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
"""(kernel, stride) of wav2vec 2.0's feature encoder, all sizes: one encoder frame per 320 samples (20 ms)."""


def encoder_frames(frames: int, convolutions: Sequence[tuple[int, int]] = CONVOLUTIONS) -> int:
    """Return how many frames the encoder makes of ``frames`` samples (unpadded convolutions).

    >>> encoder_frames(16_000), encoder_frames(400), encoder_frames(399)
    (49, 1, 0)
    """
    for kernel, stride in convolutions:
        frames = max(0, (frames - kernel) // stride + 1)
    return frames


def frames_needed(labels: Sequence[str]) -> int:
    """Return the least number of encoder frames that CTC can align ``labels`` to.

    >>> frames_needed("H E L L O |".split())
    7
    """
    return len(labels) + sum(left == right for left, right in pairwise(labels))


def ctc_fault(frames: int, labels: Sequence[str], convolutions: Sequence[tuple[int, int]] = CONVOLUTIONS) -> str | None:
    """Return why ``labels`` cannot be aligned to ``frames`` samples of audio; None if they can."""
    needed, given = frames_needed(labels), encoder_frames(frames, convolutions)
    if needed <= given > 0:
        return None
    if not given:
        return f"{frames} samples give no encoder frame, leave the utterance out"
    return (
        f"{len(labels)} labels need {needed} encoder frames for CTC, {frames} samples give {given}; "
        "the text is longer than the audio, leave the utterance out"
    )
