"""The audio that an export is checked on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from fairseq_parp.errors import AudioError, MissingToolError, absolute
from fairseq_parp.transcription.audio import read_audio

SENTENCES = ("THE HOUSE IS OLD AND SMALL", "NOW WE WALK HOME", "SLOWLY")
"""Spoken where the user names no audio."""


def check_audio(files: Sequence[str | Path], sample_rate: int, normalize: bool, shortest: int) -> list[Tensor]:
    """Return three utterances to compare two models on, the longest first.

    Args:
        files: audio files of the user's; where there are none, the demo's voice speaks.
        sample_rate: in Hz.
        normalize: whether they are to have zero mean and unit variance.
        shortest: samples of the model's first frame.

    Raises:
        AudioError: a file cannot be read, or is too short.
        MissingToolError: no file is named and the demo's voice is not installed.
    """
    if files:
        found = [read_audio(file, sample_rate, normalize) for file in files]
        for file, samples in zip(files, found, strict=True):
            if len(samples) < shortest:
                raise AudioError(absolute(file), f"too short: {len(samples)} samples, one frame needs {shortest}")
    else:
        found = _spoken(normalize)
    return sorted(found, key=len, reverse=True)[:3]


class Batch(NamedTuple):
    """A batch of audio.

    Attributes:
        audio: (B, samples), zeros behind each utterance.
        padding: (B, samples), true where those zeros are; None where there are none.
    """

    audio: Tensor
    padding: Tensor | None


def alone(utterance: Tensor) -> Batch:
    """Return a batch of one utterance."""
    return Batch(utterance[None], None)


def padded(utterances: Sequence[Tensor]) -> Batch:
    """Return utterances as a batch, the longest first."""
    lengths = torch.tensor([len(each) for each in utterances])
    audio = torch.nn.utils.rnn.pad_sequence(list(utterances), batch_first=True)
    return Batch(audio, torch.arange(audio.size(1)) >= lengths[:, None])


def _spoken(normalize: bool) -> list[Tensor]:
    from fairseq_parp.demo.speech import Voice, speak

    lines = [
        (sentence, Voice("en-us", variant)) for sentence, variant in zip(SENTENCES, ("m1", "f2", "m3"), strict=True)
    ]
    try:
        found = [torch.from_numpy(spoken) for spoken in speak(lines, seed=1)]
    except MissingToolError as error:
        raise MissingToolError(f"no audio to check the export on; name --audio FILE ({error})") from None
    return [layer_norm(each, each.shape) for each in found] if normalize else found
