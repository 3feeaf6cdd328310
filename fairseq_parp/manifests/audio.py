"""Headers of audio files, as fairseq will find them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from fairseq_parp.errors import AudioError
from fairseq_parp.kinds import absent
from fairseq_parp.manifests.reading import Location

RATE = 16_000
"""Hz. Every wav2vec 2.0 model is trained at this rate; fairseq refuses other rates and never resamples."""

THREADS = 8
"""More than there are cores: opening a file mostly waits for the disk or the network."""

STORED = (b"RIF", b"fLa", b"Ogg")
"""First bytes of the formats that fairseq reads out of a zip."""


class Header(NamedTuple):
    """The header of an audio file: length in frames (samples per channel), rate in Hz, channels."""

    frames: int
    rate: int
    channels: int

    @property
    def fault(self) -> str | None:
        """The fault that keeps wav2vec 2.0 from training on this audio, with its remedy, or None."""
        if self.rate != RATE or self.channels != 1:
            return (
                f"{self.rate} Hz, {self.channels} channel(s); {RATE} Hz mono is needed, and nothing is resampled "
                f"silently: fairseq-parp manifest table --audio DIR converts, or ffmpeg -i IN -ar {RATE} -ac 1 OUT.flac"
            )
        return None if self.frames else "no audio in it, 0 frames"


def read_header(location: Location) -> Header:
    """Read a header, and the last frame (a FLAC cut short still has its whole length in the header).

    Floating-point audio is read whole, for NaN and infinite samples.

    Raises:
        AudioError: the file is missing, is not audio that libsndfile reads, or breaks off.
    """
    try:
        with soundfile.SoundFile(_source(location)) as sound:
            header = Header(sound.frames, sound.samplerate, sound.channels)
            _require_numbers(location.file, sound)
            _read_to_the_end(sound)
    except (OSError, TypeError, soundfile.SoundFileError) as error:  # TypeError: a headerless .raw
        known = Path(location.file).is_file()
        reason = f"not readable as audio to its end ({_reason(error)})" if known else absent(location.file)
        raise AudioError(location.file, reason) from None
    return header


def _read_to_the_end(sound: soundfile.SoundFile) -> None:
    """Read the last frame, or all of them where the format has no other way to it, as GSM."""
    if sound.seekable():
        sound.seek(max(0, sound.frames - 1))
        sound.read(1)
    else:
        while len(sound.read(1 << 20)):  # blocks() needs a file that can seek
            continue


def _require_numbers(file: str, sound: soundfile.SoundFile) -> None:
    """Read floating-point audio whole: it alone can hold NaN and infinity."""
    if sound.subtype not in ("FLOAT", "DOUBLE"):
        return
    if not all(np.isfinite(block).all() for block in sound.blocks(1 << 20)):
        raise AudioError(file, "has NaN or infinite samples")


def read_headers(locations: Sequence[Location], title: str) -> Iterator[Header | AudioError]:
    """Yield the header, or the error, for each location in order; progress goes to standard error."""
    with ThreadPoolExecutor(THREADS) as pool:
        headers = pool.map(_header_or_error, locations)
        # Nothing is drawn for work of under two seconds, nor where standard error is not a terminal.
        yield from tqdm(headers, total=len(locations), desc=title, unit=" files", delay=2, disable=None)


def _header_or_error(location: Location) -> Header | AudioError:
    try:
        return read_header(location)
    except AudioError as error:
        return error


def _source(location: Location) -> str | BinaryIO:
    if location.offset is None:
        return location.file
    with Path(location.file).open("rb") as file:
        file.seek(location.offset)
        data = file.read(location.length)
    if data[:3] not in STORED:
        raise AudioError(location.file, f"no WAV, FLAC or OGG at byte {location.offset}; the zip must be uncompressed")
    return io.BytesIO(data)


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
