"""The audio that an export is checked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import pad_sequence

from fairseq_parp.errors import AudioError, MissingToolError, absolute
from fairseq_parp.transcription.audio import EPSILON, read_audio

SENTENCES = ("THE HOUSE IS OLD AND SMALL", "NOW WE WALK HOME", "SLOWLY")
"""Spoken where the user names no audio."""


def check_audio(files: Sequence[str | Path], sample_rate: int, shortest: int) -> list[Tensor]:
    """Return three utterances to compare two models on, as recorded, the longest first.

    Args:
        files: audio files of the user; without any, the demo's voice speaks.
        sample_rate: sampling rate in Hz.
        shortest: samples of the model's first frame.

    Raises:
        AudioError: a file cannot be read, or is too short.
        MissingToolError: no file is named and the demo's voice is not installed.
    """
    if files:
        found = [read_audio(file, sample_rate, normalize=False) for file in files]
        for file, samples in zip(files, found, strict=True):
            if len(samples) < shortest:
                raise AudioError(absolute(file), f"too short: {len(samples)} samples, one frame needs {shortest}")
    else:
        found = _spoken()
    return sorted(found, key=len, reverse=True)[:3]


class Batch(NamedTuple):
    """A batch of audio.

    Attributes:
        raw: (B, samples) as recorded, zeros behind each utterance.
        audio: the same as the model's training had it: with zero mean and unit variance, or as recorded.
        lengths: (B,) samples of each utterance.
    """

    raw: Tensor
    audio: Tensor
    lengths: Tensor

    @property
    def padding(self) -> Tensor | None:
        """(B, samples), True at padding; None without padding."""
        found = torch.arange(self.raw.size(1)) >= self.lengths[:, None]
        return found if found.any() else None


def batch(utterances: Sequence[Tensor], normalize: bool) -> Batch:
    """Return utterances as a batch, the longest first; ``normalize`` as the model's training had it."""
    raw = pad_sequence(list(utterances), batch_first=True)
    normalised = [layer_norm(each, each.shape, eps=EPSILON) for each in utterances]
    audio = pad_sequence(normalised, batch_first=True) if normalize else raw
    return Batch(raw, audio, torch.tensor([len(each) for each in utterances]))


def _spoken() -> list[Tensor]:
    from fairseq_parp.demo.speech import Voice, speak

    lines = [
        (sentence, Voice("en-us", variant)) for sentence, variant in zip(SENTENCES, ("m1", "f2", "m3"), strict=True)
    ]
    try:
        return [torch.from_numpy(spoken.audio) for spoken in speak(lines, seed=1)]
    except MissingToolError as error:
        raise MissingToolError(f"no audio to check the export on; name --audio FILE ({error})") from None
