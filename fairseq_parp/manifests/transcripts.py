"""Reading a table of transcripts: tab-separated with nothing quoted (.tsv), or .csv; line 1 names the columns."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import absolute, listing
from fairseq_parp.manifests.reading import doubled, path_fault, read_lines, shown

USED = ("path", "text", "split", "speaker", "start", "end", "image")
ALIASES: Mapping[str, str] = {
    "file_name": "path",
    "sentence": "text",
    "transcription": "text",
    "transcript": "text",
    "client_id": "speaker",
    "speaker_id": "speaker",
}
"""Columns of Hugging Face's metadata.csv and of Common Voice's tables, and their names here."""

SPLIT_NAME = re.compile(r"[\w-][\w.-]*")
DELIMITERS = ",;\t|"


class TranscriptRow(NamedTuple):
    """One utterance: path relative to the root, text, and where it stands (``FILE:LINE``).

    ``image`` is the id of the picture that it describes, "" in a corpus without pictures.
    ``start`` and ``end`` (seconds) are there where the utterance is a segment of a recording; an ``end`` of None is
    the recording's own.
    """

    path: str
    text: str
    split: str
    speaker: str
    place: str
    start: float | None = None
    end: float | None = None
    image: str = ""


@dataclass(frozen=True)
class Transcripts:
    """Utterances with their text, their problems, and the unused columns of the source.

    Attributes:
        root: absolute folder to which the rows' paths are relative.
        rows: the utterances, in the source's order.
        unused: columns that are not read.
        problems: one line each.
        renamed: the columns that stand for others, as ``file_name for path``.
    """

    root: str
    rows: tuple[TranscriptRow, ...]
    unused: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()


def read_transcripts(
    file: Path, root: str, *, split: str = "train", below: str = "", text: str = "text"
) -> Transcripts:
    """Read a table with the columns path and text, optionally split, speaker, start, end and image, in any order.

    Args:
        file: the table.
        root: folder that the paths are relative to; absolute ones inside it are made so.
        split: split of the rows, if the table has no such column.
        below: folder under the root that the table's own paths start from.
        text: column that the rows' text is read from, such as one of labels.
    """
    numbered, problems = _cells(file)
    if not numbered:
        return Transcripts(root, (), (), tuple(problems))
    written = numbered[0][1]
    columns, renamed = _named(written)
    if faults := [(1, fault) for fault in _header_faults(columns, text)]:
        return Transcripts(root, (), (), tuple(problems + shown(file, faults)))
    rows, faults = [], []
    for line, cells in numbered[1:]:
        try:
            rows.append(_row(columns, cells, root, below, split, text, f"{file}:{line}"))
        except ValueError as error:
            faults.append((line, str(error)))
    if len(numbered) == 1:
        faults.append((1, "no utterances after the header"))
    faults += doubled((_identity(row), int(row.place.rpartition(":")[2])) for row in rows)
    used = {text, *USED} if text == "text" else {text, *USED} - {"text"}
    unused = tuple(column for column in columns if column not in used)
    return Transcripts(root, tuple(rows), unused, tuple(problems + shown(file, faults)), renamed)


def is_table(file: Path) -> bool:
    """Return whether a ``.tsv`` is a table of transcripts, not a manifest (its first line is a folder)."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        columns = _named(lines.readline().rstrip("\n").split("\t"))[0]
    return "path" in columns and len(columns) > 1


def relative(path: str, root: str) -> str:
    """Return a path in its one spelling, relative to the root where it is inside.

    >>> relative("/data/./a//1.wav", "/data"), relative("a/../b.wav", "/data")
    ('a/1.wav', 'b.wav')
    """
    return os.path.normpath(path).removeprefix(f"{root.rstrip('/')}/") if path else ""


def checked(row: TranscriptRow, root: str) -> TranscriptRow:
    """Return the row.

    Raises:
        ValueError: it cannot be an utterance.
    """
    if not row.path or not row.text:
        raise ValueError(f"{'text' if row.path else 'path'} is empty")
    if fault := path_fault(root, row.path):
        raise ValueError(fault)
    if not SPLIT_NAME.fullmatch(row.split):
        raise ValueError(f"split {row.split!r} is not a file name; letters, digits, '_', '-' and '.' make one")
    if row.end is not None and row.end <= (row.start or 0.0):
        raise ValueError(f"the segment ends at {row.end:g} s, which is not after its start at {row.start or 0:g} s")
    return row


def seconds(text: str) -> float:
    """Return a time in seconds.

    Raises:
        ValueError: it is no number of seconds.
    """
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text):
        raise ValueError(f"time {text!r} is not a number of seconds")
    return float(text)


def _identity(row: TranscriptRow) -> str:
    return row.path if row.start is None else f"{row.path} {row.start:g} {'' if row.end is None else f'{row.end:g}'}"


def _cells(file: Path) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return line number and cells of every row, the header first, and the problems of the file."""
    lines, problems = read_lines(file)
    if file.suffix.lower() != ".csv":
        return [(number, line.split("\t")) for number, line in enumerate(lines, start=1)], problems
    if not lines:
        return [], problems
    # Spreadsheets write a byte-order mark and CRLF, which are part of this format and not of its cells.
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=max(DELIMITERS, key=lines[0].count), strict=True)
    found: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            found += [(line, cells)] if cells else []
            line = reader.line_num + 1
    except csv.Error as error:
        return [], shown(file, [(line, f"not CSV from here on ({error})")])
    return found, []


def _named(columns: Iterable[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the columns under their names here, and those that stand for others."""
    own = list(columns)
    named = [ALIASES[name] if name in ALIASES and ALIASES[name] not in own else name for name in own]
    return named, tuple(f"{old} for {new}" for old, new in zip(own, named, strict=True) if old != new)


def _header_faults(columns: Sequence[str], text: str) -> list[str]:
    named = f"line 1 names the columns: {listing(columns)}"
    missing = [f"column {name!r} is missing; {named}" for name in ("path", text) if name not in columns]
    twice = [f"column {name!r} occurs twice" for name in dict.fromkeys((*USED, text)) if columns.count(name) > 1]
    # 'Split' instead of 'split', taken for a column of the user's own, would put the test set into train.
    almost = {name: name.strip().lower() for name in columns if name not in USED}
    wrong = [f"column {name!r} must be written {right!r}" for name, right in almost.items() if right in USED]
    return wrong or missing + twice


def _row(
    columns: Sequence[str], cells: Sequence[str], root: str, below: str, split: str, text: str, place: str
) -> TranscriptRow:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} column(s), the header has {len(columns)} ({listing(columns)})")
    cell = {name: value.strip() for name, value in zip(columns, cells, strict=True)}
    path = relative(os.path.join(below, cell["path"]) if cell["path"] else "", root)  # noqa: PTH118 (a/./b stays a text)
    start, end = (seconds(cell[name]) if cell.get(name) else None for name in ("start", "end"))
    if path and not cell[text]:
        raise ValueError(f"{text} is empty")
    image = cell.get("image", "")
    if "image" in cell and (not image or "\n" in image):
        raise ValueError(f"image {image!r} is not an id: it is empty or has a line break")
    row = TranscriptRow(
        path,
        " ".join(cell[text].split("\n")),
        cell.get("split", split),
        cell.get("speaker", ""),
        place,
        start,
        end,
        image,
    )
    return checked(row._replace(start=0.0) if row.start is None and row.end is not None else row, root)


def merged(parts: Iterator[Transcripts], root: str) -> Transcripts:
    """Return several sources as one."""
    every = list(parts)
    return Transcripts(
        absolute(root),
        tuple(row for part in every for row in part.rows),
        tuple(dict.fromkeys(name for part in every for name in part.unused)),
        tuple(problem for part in every for problem in part.problems),
        tuple(dict.fromkeys(name for part in every for name in part.renamed)),
    )
