"""Reading a table of transcripts: tab-separated, with a header, nothing quoted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import listing
from fairseq_parp.manifests.reading import doubled, parse, path_fault, read_lines, shown

REQUIRED = ("path", "text")
USED = (*REQUIRED, "split", "speaker")
SPLIT_NAME = re.compile(r"[\w-][\w.-]*")


class Row(NamedTuple):
    """One line of the table; without these columns ``split`` is "train" and ``speaker`` is ""."""

    path: str
    text: str
    split: str
    speaker: str
    line: int


@dataclass(frozen=True)
class Transcripts:
    """A table of transcripts: its rows, the columns that are not used, and what is wrong with it."""

    file: Path
    rows: tuple[Row, ...]
    unused: tuple[str, ...]
    problems: tuple[str, ...]


def read_transcripts(file: Path, root: str) -> Transcripts:
    """Read a table with the columns path and text, optionally split and speaker, in any order.

    Paths are relative to ``root``; absolute ones inside it are made so.
    """
    lines, problems = read_lines(file)
    columns = lines[0].split("\t") if lines else []
    faults = [(1, fault) for fault in _header_faults(columns)] if lines else []
    if faults or not lines:
        return Transcripts(file, (), (), tuple(problems + shown(file, faults)))
    rows, faults = parse(lines[1:], lambda text, line: _row(columns, text, line, root), first=2)
    faults += doubled((row.path, row.line) for row in rows)
    if len(lines) == 1:
        faults.append((1, "no utterances after the header"))
    unused = tuple(column for column in columns if column not in USED)
    return Transcripts(file, tuple(rows), unused, tuple(problems + shown(file, faults)))


def is_table(file: Path) -> bool:
    """Tell a table of transcripts from a manifest, whose first line is a folder: both end in ``.tsv``."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        return set(REQUIRED) <= set(lines.readline().rstrip("\n").split("\t"))


def _header_faults(columns: Sequence[str]) -> list[str]:
    missing = [f"column {name!r} is missing; line 1 names the columns" for name in REQUIRED if name not in columns]
    twice = [f"column {name!r} occurs twice" for name in USED if columns.count(name) > 1]
    # 'Split' instead of 'split', taken for a column of the user's own, would put the test set into train.
    almost = {name: name.strip().lower() for name in columns if name not in USED}
    wrong = [f"column {name!r} must be written {right!r}" for name, right in almost.items() if right in USED]
    return wrong or missing + twice


def _row(columns: Sequence[str], text: str, line: int, root: str) -> Row:
    cells = text.split("\t")
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} column(s), the header has {len(columns)} ({listing(columns)})")
    cell = {name: value.strip() for name, value in zip(columns, cells, strict=True)}
    path = cell["path"].removeprefix(f"{root.rstrip('/')}/")
    row = Row(path, cell["text"], cell.get("split", "train"), cell.get("speaker", ""), line)
    if not row.path or not row.text:
        raise ValueError(f"{'text' if row.path else 'path'} is empty")
    if fault := path_fault(root, path):
        raise ValueError(fault)
    if not SPLIT_NAME.fullmatch(row.split):
        raise ValueError(f"split {row.split!r} is no name for files; letters, digits, '_', '-' and '.' make one")
    return row
