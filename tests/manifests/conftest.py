"""Small data folders with real audio, as users have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import soundfile

AudioMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def audio() -> AudioMaker:
    """Writes an audio file of so many frames of noise; its ending picks the format."""

    def write(file: Path, frames: int = 16_000, rate: int = 16_000, channels: int = 1) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = numpy.random.default_rng(frames).standard_normal((frames, channels)).astype("float32") / 10
        soundfile.write(file, noise, rate)
        return file

    return write


@pytest.fixture
def folder(tmp_path: Path, audio: AudioMaker) -> Path:
    """A data folder without a fault: three utterances of two speakers, letter labels, words, a dictionary."""
    audio(tmp_path / "audio/anna/1.flac", 16_000)
    audio(tmp_path / "audio/anna/2.flac", 24_640)
    audio(tmp_path / "audio/ben/1.wav", 12_000)
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.tsv").write_text(f"{tmp_path}/audio\nanna/1.flac\t16000\nanna/2.flac\t24640\nben/1.wav\t12000\n")
    (data / "train.ltr").write_text("H E L L O | W O R L D |\nT W O |\nO H |\n")
    (data / "train.wrd").write_text("HELLO WORLD\nTWO\nOH\n")
    (data / "dict.ltr.txt").write_text("| 4\nO 4\nL 3\nH 2\nW 2\nD 1\nE 1\nR 1\nT 1\n")
    return data
