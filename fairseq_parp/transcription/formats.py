"""Transcripts as text, JSON and SubRip subtitles (SRT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq_parp.transcription.timing import Transcript, Word

FORMATS = ("txt", "srt", "json")

CUE_LETTERS = 84
"""Letters of a subtitle: two lines of 42."""

CUE_SECONDS = 7.0
"""Longest subtitle."""

PAUSE = 1.0
"""Seconds of silence that end a subtitle."""


def as_json(path: str, transcript: Transcript) -> dict[str, Any]:
    """Return a transcript with the times of its words, in seconds, as JSON holds it."""
    return {"path": path, "text": transcript.text, "words": [word._asdict() for word in transcript.words]}


def as_srt(transcript: Transcript) -> str:
    """Return numbered subtitles, each followed by an empty line; an empty text without words."""
    cues = enumerate(_cues(transcript.words), start=1)
    return "".join(
        f"{number}\n{_clock(cue[0].start)} --> {_clock(cue[-1].end)}\n{' '.join(word.word for word in cue)}\n\n"
        for number, cue in cues
    )


def _cues(words: Sequence[Word]) -> Iterator[list[Word]]:
    cue: list[Word] = []
    for word in words:
        letters = sum(len(each.word) + 1 for each in cue) + len(word.word)
        if cue and (
            letters > CUE_LETTERS or word.end - cue[0].start > CUE_SECONDS or word.start - cue[-1].end >= PAUSE
        ):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _clock(seconds: float) -> str:
    """Return a time as SRT writes it.

    >>> _clock(3661.5)
    '01:01:01,500'
    """
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02},{whole % 1000:03}"
