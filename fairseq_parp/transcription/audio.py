"""Reads audio files of any rate, channels and format of libsndfile, as a model needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.errors import AudioError, absolute
from fairseq_parp.kinds import absent, misread

BLOCK = 1 << 19
"""Samples per channel that are read at a time: an hour of audio takes no more memory than half a minute."""

EPSILON = 1e-5
"""Added to the variance, as fairseq's ``layer_norm`` of the waveform does."""


def read_audio(path: str | Path, sample_rate: int, normalize: bool) -> Tensor:
    """Read a whole file; arguments and errors are those of :func:`read_blocks`.

    Returns:
        (samples,) float32, within -1 to 1 unless normalised.
    """
    return torch.cat([torch.empty(0), *read_blocks(path, sample_rate, normalize)])


def read_blocks(path: str | Path, sample_rate: int, normalize: bool) -> Iterator[Tensor]:
    """Read a file block by block: mean of its channels, resampled (soxr, high quality), normalised if asked.

    Args:
        path: audio file.
        sample_rate: wanted rate in Hz.
        normalize: scale to mean 0 and variance 1 over the file, as ``task.normalize`` does; the file is read twice.

    Yields:
        (samples,) float32, of any positive length.

    Raises:
        AudioError: the file is missing, unreadable or empty, or has NaN or infinite samples.
    """
    mean, deviation = _moments(path, sample_rate) if normalize else (0.0, 1.0)
    for block in _resampled(path, sample_rate):
        yield torch.from_numpy(((block - mean) / deviation).astype(np.float32))


def _moments(path: str | Path, sample_rate: int) -> tuple[float, float]:
    """Return the mean and the standard deviation of a file."""
    count, total, squares = 0, 0.0, 0.0
    for block in _resampled(path, sample_rate):
        exact = block.astype(np.float64)
        count, total, squares = count + len(exact), total + exact.sum(), squares + (exact**2).sum()
    mean = total / count
    return float(mean), float(np.sqrt(max(squares / count - mean**2, 0.0) + EPSILON))


def _resampled(path: str | Path, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield mono audio at the wanted rate."""
    blocks = _read(path)
    rate, first = next(blocks)
    if rate == sample_rate:
        yield first
        yield from (block for _, block in blocks)
        return
    stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
    found = [stream.resample_chunk(first)]
    for _, block in blocks:
        yield from (part for part in found if len(part))
        found = [stream.resample_chunk(block)]
    found.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    yield from (part for part in found if len(part))


def _read(path: str | Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the rate in Hz and the mean of the channels, (samples,), for each block of a file."""
    if not Path(path).is_file():
        raise AudioError(absolute(path), absent(path))
    empty = True
    # soundfile raises a TypeError for a headerless .raw file, which has neither rate nor channels.
    try:
        with soundfile.SoundFile(path) as sound:
            # Neither soundfile.read nor blocks() takes a format without a way to seek, such as GSM.
            while len(wave := sound.read(BLOCK, dtype="float32", always_2d=True)):
                if not np.isfinite(wave).all():
                    raise AudioError(absolute(path), "has NaN or infinite samples")
                yield int(sound.samplerate), wave.mean(axis=1)
                empty = False
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(absolute(path), misread("audio", path, error)) from error
    if empty:
        raise AudioError(absolute(path), "has no samples")
