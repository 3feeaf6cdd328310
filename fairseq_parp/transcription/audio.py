"""Audio files of any rate, channels and format that libsndfile reads, as a model wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm

from fairseq_parp.errors import AudioError, absolute
from fairseq_parp.kinds import absent, kind_of


def read_audio(path: str | Path, sample_rate: int, normalize: bool) -> Tensor:
    """Read a whole file: mean of its channels, resampled (soxr, high quality), normalised if asked.

    Args:
        path: audio file.
        sample_rate: wanted rate in Hz.
        normalize: scale to mean 0 and variance 1 over the file, as fairseq's ``task.normalize``.

    Returns:
        (samples,) float32, within -1 to 1 unless normalised.

    Raises:
        AudioError: the file is missing, unreadable or empty, or has NaN or infinite samples.
    """
    wave, rate = _read(path)
    if not np.isfinite(wave).all():
        raise AudioError(absolute(path), "has NaN or infinite samples")
    source = torch.from_numpy(np.asarray(soxr.resample(wave.mean(axis=1), rate, sample_rate), dtype=np.float32))
    return layer_norm(source, source.shape) if normalize else source


def _unreadable(path: str | Path, error: Exception) -> str:
    other = kind_of(path)
    if other and other != "an audio file":
        return f"cannot be read as audio, it is {other}"
    return f"cannot be read as audio ({getattr(error, 'error_string', error)})"


def _read(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Return (samples, channels) and the rate in Hz."""
    if not Path(path).is_file():
        raise AudioError(absolute(path), absent(path))
    try:
        wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    # A TypeError is soundfile's way to say that a headerless .raw file tells neither rate nor channels.
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(absolute(path), _unreadable(path, error)) from error
    if not len(wave):
        raise AudioError(absolute(path), "has no samples")
    return wave, int(rate)
