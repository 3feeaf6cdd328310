"""A whole audio file through a finetuned model, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_parp.architectures.convolutions import convolutions, shortest_input
from fairseq_parp.decoding.windows import CONTEXT, SECONDS, windows
from fairseq_parp.errors import AudioError, absolute
from fairseq_parp.transcription.audio import read_blocks

if TYPE_CHECKING:
    from fairseq_parp.transcription.loading import Finetuned


@torch.no_grad()
def encoded(path: str | Path, loaded: Finetuned, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a model's output for a file, (T, C), one row a frame; a file of more than 40 s is encoded in windows.

    Args:
        path: audio file.
        loaded: the model.
        encode: maps audio (1, samples) to (T, C).

    Raises:
        AudioError: the file is missing or unreadable, or shorter than the model's first frame.
    """
    size, context = (seconds * loaded.sample_rate for seconds in (SECONDS, CONTEXT))
    stride, shortest = math.prod(stride for _, stride in convolutions(loaded.model)), shortest_input(loaded.model)
    pieces = []
    for window in windows(read_blocks(path, loaded.sample_rate, loaded.normalize), size, context, stride):
        if (samples := len(window.source)) < shortest:
            needed = f"{shortest} samples at {loaded.sample_rate} Hz"
            raise AudioError(absolute(path), f"too short: {samples} samples, one encoder frame needs {needed}")
        found = encode(window.source[None])
        pieces.append(found[window.first : window.last].clone())  # a view would keep the whole window's frames
    return torch.cat(pieces)
