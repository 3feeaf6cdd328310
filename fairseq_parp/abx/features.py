"""The output of each layer of an encoder for an audio file."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from fairseq_parp.architectures import ARCHITECTURES, family_of
from fairseq_parp.architectures.convolutions import convolutions, shortest_input
from fairseq_parp.errors import AudioError, CheckpointError, absolute
from fairseq_parp.export.source import Source, build_encoder
from fairseq_parp.transcription.audio import read_audio


class Layers:
    """The encoder of any checkpoint, pretrained or finetuned, sparse or dense.

    Attributes:
        names: names of the Transformer's layers in tables: 1 is the first.
        rate: frames a second.
    """

    def __init__(self, path: str | Path) -> None:
        """Load a checkpoint.

        Raises:
            CheckpointError: it cannot be read, or its encoder has no layers that are known.
        """
        source = Source.open(path)
        self._encoder: Any = build_encoder(source.encoder_cfg, source.state)
        family = family_of((name for name, _ in self._encoder.named_parameters()), ARCHITECTURES)
        layer = re.compile(family.layer) if family else None
        self._layers = [each for name, each in self._encoder.named_modules() if layer and layer.fullmatch(name)]
        if not self._layers:
            raise CheckpointError(absolute(path), f"no layers of {', '.join(ARCHITECTURES)} are in it")
        self.rate = source.sample_rate / math.prod(stride for _, stride in convolutions(self._encoder))
        self._rate, self._normalize = source.sample_rate, source.normalize
        self.names = [str(number + 1) for number in range(len(self._layers))]

    @torch.no_grad()
    def of(self, audio: str | Path) -> list[Tensor]:
        """Return each layer's output for a whole file, alone and unmasked.

        Returns:
            (frames, channels) float32 a layer. Where a layer ends in no LayerNorm of its own, none is applied.

        Raises:
            AudioError: the file cannot be read, or is shorter than the encoder's first frame.
        """
        source = read_audio(audio, self._rate, self._normalize)[None]
        if source.size(1) < (shortest := shortest_input(self._encoder)):
            raise AudioError(
                absolute(audio), f"too short: {source.size(1)} samples, one encoder frame needs {shortest}"
            )
        seen: list[Tensor] = []
        with contextlib.ExitStack() as hooks:
            for layer in self._layers:
                handle = layer.register_forward_hook(lambda _module, _given, found: seen.append(_tensor(found)))
                hooks.callback(handle.remove)
            self._encoder.extract_features(source, None, mask=False)
        frames = _frames(source.size(1), convolutions(self._encoder))
        return [each[:frames, 0].float() for each in seen]  # the encoder may have padded them to an even number


def _tensor(found: Any) -> Tensor:
    """Return a layer's output, (frames, 1, channels)."""
    return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]


def _frames(samples: int, convolutions: list[tuple[int, int]]) -> int:
    for kernel, stride in convolutions:
        samples = (samples - kernel) // stride + 1
    return samples


def span(onset: float, offset: float, rate: float, frames: int) -> slice:
    """Return the frames of a token: those whose middle lies between its start and its end, as ZeroSpeech has it.

    >>> span(0.1, 0.2, 50, 100)
    slice(5, 10, None)
    """
    first, last = -(-(rate * onset - 0.5) // 1), (rate * offset - 0.5) // 1
    return slice(max(0, int(first)), min(frames, int(last) + 1))


def audio_files(folder: str | Path) -> Iterator[tuple[str, Path]]:
    """Yield the audio files below a folder by their names without ending."""
    for file in sorted(Path(folder).rglob("*")):
        if file.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3", ".opus"):
            yield file.stem, file


def seconds_of(audio: str | Path) -> float:
    """Return the length of an audio file by its header.

    Raises:
        AudioError: it cannot be read.
    """
    try:
        return float(soundfile.info(str(audio)).duration)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(
            absolute(audio), f"cannot be read as audio ({getattr(error, 'error_string', error)})"
        ) from None
