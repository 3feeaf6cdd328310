"""Converts audio of any rate, channels and format, or segments of recordings, to the clips of a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fairseq_parp.errors import AudioError, ConfigError, ManifestError
from fairseq_parp.manifests.audio import RATE, Header, read_headers
from fairseq_parp.manifests.corpora.conversion import Clip, convert
from fairseq_parp.manifests.reading import Location
from fairseq_parp.manifests.transcripts import TranscriptRow

LATE = 0.1
"""Seconds that a segment may end after its recording: alignments are rounded."""


class Cut(NamedTuple):
    """Rows whose paths are clips, relative to the folder of the clips, and a line for each kind of audio."""

    rows: list[TranscriptRow]
    notes: list[str]


def cut(rows: Sequence[TranscriptRow], root: str, audio: Path, processes: int | None = None) -> Cut:
    """Write each utterance as a 16 kHz mono FLAC of 16 bits; those that are there already stay.

    Args:
        rows: the utterances.
        root: folder that their paths are relative to.
        audio: folder for the clips.
        processes: how many convert at a time; None means one per core.

    Raises:
        ManifestError: recordings that cannot be read, segments outside of them, two utterances that would become one
            file; all are named.
    """
    recordings = list(dict.fromkeys(row.path for row in rows))
    read = read_headers([Location(f"{root}/{path}") for path in recordings], "recordings")
    headers = dict(zip(recordings, read, strict=True))
    problems = [problem for row in rows if (problem := _fault(row, headers[row.path]))]
    targets = [_name(row) for row in rows]
    first: dict[str, TranscriptRow] = {}
    for row, target in zip(rows, targets, strict=True):
        other = first.setdefault(target, row)
        if other is not row:
            problems.append(
                f"{row.place}: {row.path} would become {target}, as {other.path} does; leave one of them out"
            )
    if problems:
        raise ManifestError(problems)
    clips = [
        Clip(Path(root, row.path), audio / target, row.start, row.end)
        for row, target in zip(rows, targets, strict=True)
    ]
    made = convert(clips, processes)
    kinds = Counter((h.rate, h.channels) for h in headers.values() if isinstance(h, Header))
    notes = [f"{count} recordings of {rate} Hz, {channels} channel(s)" for (rate, channels), count in kinds.items()]
    notes.append(f"to {len(clips)} FLACs of {RATE} Hz, 1 channel: {made} written, {len(clips) - made} there already")
    return Cut([row._replace(path=target) for row, target in zip(rows, targets, strict=True)], notes)


def require_whole(rows: Sequence[TranscriptRow]) -> None:
    """Check that no utterance is a segment, where there is no folder for clips.

    Raises:
        ConfigError: some are.
    """
    segments = sum(row.start is not None for row in rows)
    if segments:
        raise ConfigError("--audio", None, f"{segments} utterances are segments of recordings; name a folder for them")


def _fault(row: TranscriptRow, header: Header | AudioError) -> str | None:
    if isinstance(header, AudioError):
        return f"{row.place}: {header}"
    length = header.frames / header.rate
    if row.start is not None and (row.start >= length or (row.end or length) > length + LATE):
        segment = f"the segment from {row.start:g} to {row.end or length:g} s"
        return f"{row.place}: {row.path}: {segment} is not within the recording's {length:g} s"
    return None


def _name(row: TranscriptRow) -> str:
    """Return a clip's path: that of the recording, with the segment in milliseconds."""
    path = PurePosixPath(row.path)
    if row.start is None:
        return str(path.with_suffix(".flac"))
    end = "end" if row.end is None else f"{round(row.end * 1000):08}"
    return str(path.with_name(f"{path.stem}-{round(row.start * 1000):08}-{end}.flac"))
