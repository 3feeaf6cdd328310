"""Converts compressed clips of any rate for fairseq: 16 kHz mono FLAC, 16 bits a sample.

libsndfile decodes and encodes, soxr resamples. A FLAC gets its name only when it is complete, so an
interrupted conversion continues at the point where it stopped.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import soundfile
import soxr
from tqdm import tqdm

from fairseq_parp.commands.signals import signals_wait
from fairseq_parp.errors import ConfigError, ManifestError, MissingToolError
from fairseq_parp.files import write_whole
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.checking import missing_files


class Clip(NamedTuple):
    """A clip to convert, and the FLAC that it becomes; ``start`` and ``end`` (seconds) cut it out of the source."""

    source: Path
    target: Path
    start: float | None = None
    end: float | None = None


def require_mp3(formats: Collection[str] | None = None) -> None:
    """Check that libsndfile decodes mp3; ``formats`` are those it knows.

    Raises:
        MissingToolError: it is older than 1.1.
    """
    if "MP3" not in (soundfile.available_formats() if formats is None else formats):
        version = soundfile.__libsndfile_version__
        raise MissingToolError(f"libsndfile {version} reads no mp3, 1.1 does; it comes with pip install -U soundfile")


def convert(clips: Sequence[Clip], processes: int | None = None) -> int:
    """Convert the clips whose FLAC is not there yet, or older than they are; progress goes to standard error.

    Args:
        clips: the clips to convert.
        processes: number of processes; None means one per core.

    Returns:
        The number of converted clips.

    Raises:
        ConfigError: ``processes`` is below 1.
        ManifestError: clips are damaged (all of them are named), or a FLAC cannot be written. All others are converted.
    """
    if processes is not None and processes < 1:
        raise ConfigError("--processes", processes, "1 or more")
    absent = missing_files(str(clip.target) for clip in clips)
    todo = [clip for clip in clips if str(clip.target) in absent or _is_newer(clip)]
    count = min(processes or os.cpu_count() or 1, len(todo))
    if not todo:
        return 0
    # Spawned, not forked: the caller may have threads of its own.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    try:
        with signals_wait(), _sigint_is_blocked():
            results = pool.map(_convert, todo, chunksize=4)
        shown = tqdm(results, total=len(todo), desc="converting", unit=" clips", delay=2, disable=None)
        problems = [problem for problem in shown if problem]
    except OSError as error:
        raise ManifestError([f"{error.filename or todo[0].target.parent}: {error.strerror or error}"]) from error
    except BrokenProcessPool as error:
        reason = "a process that converts was ended from outside, such as for lack of memory; repeat the command"
        raise ManifestError([f"{todo[0].target.parent}: {reason}"]) from error
    finally:
        pool.shutdown(cancel_futures=True)
    if problems:
        raise ManifestError(problems)
    return len(todo)


def _is_newer(clip: Clip) -> bool:
    """Return whether the source was written after its FLAC; a source that is gone was not."""
    try:
        return clip.source.stat().st_mtime > clip.target.stat().st_mtime
    except OSError:
        return False


def _convert(clip: Clip) -> str | None:
    """Convert one clip, and return its problem. An OSError of writing is raised, because it concerns all clips."""
    try:
        with soundfile.SoundFile(clip.source) as sound:
            rate = sound.samplerate
            first = round((clip.start or 0) * rate)
            sound.seek(first)
            length = -1 if clip.end is None else round(clip.end * rate) - first
            data = sound.read(length, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        return f"{clip.source}: not readable as audio ({getattr(error, 'error_string', error)})"
    if not len(data):
        return f"{clip.source}: no audio in it"
    flac = io.BytesIO()
    # soundfile clips the overshoot of the resampling filter.
    soundfile.write(flac, soxr.resample(data.mean(axis=1), rate, RATE), RATE, format="FLAC", subtype="PCM_16")
    write_whole(clip.target, flac.getvalue())
    return None


@contextlib.contextmanager
def _sigint_is_blocked() -> Iterator[None]:
    """Start workers that Ctrl-C cannot hit before they leave it to the parent: they inherit the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it is killed: a worker would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_the_end, daemon=True).start()


def _wait_for_the_end() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
