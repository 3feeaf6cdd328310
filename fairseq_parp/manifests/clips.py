"""Lists of captions of clips: MSR-VTT's, written, and spoken ones in the layout of Moments in Time (S-MiT).

MSR-VTT's ``*videodatainfo.json`` has ``videos``, each with its split, and ``sentences``. The tables of its other splits
(``MSRVTT_train.9k.csv``, ``MSRVTT_JSFUSION_test.csv``) name a ``video_id`` a row, with or without a ``sentence``.
A table without these columns has ``CLASS/NAME.mp4`` first in every row, as ``trainingSet.csv`` of Moments in Time; the
spoken caption of a clip has the same path with the ending of audio. Ids are the clips' names without ending.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fairseq_parp.errors import absolute, first_line
from fairseq_parp.kinds import unreadable
from fairseq_parp.manifests.reading import read_lines
from fairseq_parp.manifests.transcripts import TranscriptRow

_SPOKEN = (".wav", ".flac", ".mp3")
_CALLED = {"valid": "validate"}
"""MSR-VTT's own names of splits that have another one here."""


def of_json(given: Mapping[str, Any], file: Path, split: str, problems: list[str]) -> Iterator[TranscriptRow]:
    """Yield the captions of one split of MSR-VTT's JSON file."""
    wanted = _CALLED.get(split, split)
    splits = {video.get("video_id"): video.get("split") for video in given["videos"] if isinstance(video, Mapping)}
    if wanted not in splits.values():
        problems.append(f"{file}: has no videos of the split {wanted!r}, but {sorted({*map(str, splits.values())})}")
    for video, sentences in sentences_of(given, file, problems).items():
        if splits.get(video) == wanted:
            yield from (_written(sentence, video, split, f"{file}: {video}") for sentence in sentences)


def sentences_of(given: Any, file: Path, problems: list[str]) -> dict[str, list[str]]:
    """Return the captions of each video, from MSR-VTT's JSON file."""
    found: dict[str, list[str]] = {}
    for number, each in enumerate(given["sentences"]):
        video, caption = (each.get(key) if isinstance(each, Mapping) else None for key in ("video_id", "caption"))
        if not isinstance(video, str) or not isinstance(caption, str) or not caption.split():
            problems.append(f"{file}: sentences[{number}] has no video_id and caption")
            continue
        found.setdefault(video, []).append(caption)
    return found


def read_sentences(file: Path, problems: list[str]) -> dict[str, list[str]]:
    """Return the captions of each video, from the path of MSR-VTT's JSON file."""
    try:
        given = json.loads(file.read_text(encoding="utf-8-sig"))
        return sentences_of(given if isinstance(given["sentences"], list) else {}, file, problems)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{absolute(file)}: {unreadable(file, error)}")
        return {}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problems.append(f"{absolute(file)}: no sentences of MSR-VTT ({first_line(error)})")
        return {}


def of_table(
    file: Path, split: str, root: Path, sentences: Mapping[str, Sequence[str]], problems: list[str]
) -> Iterator[TranscriptRow]:
    """Yield the captions of a CSV file.

    Args:
        file: MSR-VTT's, or one in the layout of Moments in Time.
        split: its name here.
        root: folder of the spoken captions.
        sentences: captions of each video, for a table that has none.
        problems: list to which problems are added.
    """
    lines, faults = read_lines(file)
    problems += faults
    rows = list(csv.reader(line for line in lines if line.strip()))
    if rows and "video_id" in rows[0]:
        yield from _msrvtt(rows, file, split, sentences, problems)
        return
    for number, row in enumerate(rows, 1):
        clip = PurePosixPath(row[0].strip())
        if not clip.suffix:
            problems.append(f"{file}:{number}: {row[0]!r} is not CLASS/NAME.mp4, and line 1 has no column video_id")
            continue
        there = [ending for ending in _SPOKEN if (root / clip.with_suffix(ending)).is_file()]
        path = str(clip.with_suffix((there or _SPOKEN)[0]))
        yield TranscriptRow(path, "", split, "", f"{file}:{number}", image=str(clip.with_suffix("")))


def _msrvtt(
    rows: Sequence[Sequence[str]], file: Path, split: str, sentences: Mapping[str, Sequence[str]], problems: list[str]
) -> Iterator[TranscriptRow]:
    heads = rows[0]
    for number, row in enumerate(rows[1:], 2):
        cells = dict(zip(heads, row, strict=False))
        video, own = cells.get("video_id", "").strip(), cells.get("sentence", "").strip()
        captions = [own] if "sentence" in heads else sentences.get(video, ())
        if not video or not captions or not all(captions):
            way = "" if "sentence" in heads else "; --text names the JSON file with the sentences"
            problems.append(f"{file}:{number}: {video!r} has no sentence{way}")
            continue
        yield from (_written(caption, video, split, f"{file}:{number}") for caption in captions)


def _written(caption: str, video: str, split: str, place: str) -> TranscriptRow:
    return TranscriptRow("", " ".join(caption.split()), split, "", place, image=video)
