"""Spoken words with their times, from an item file or from a CTM file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ItemError, absolute
from fairseq_parp.manifests.items import read_items
from fairseq_parp.manifests.reading import parse, read_lines


class Spoken(NamedTuple):
    """A word of a recording.

    Attributes:
        start, end: times in seconds.
        word: the word as in the file.
    """

    start: float
    end: float
    word: str


def read_alignment(path: str | Path) -> dict[str, list[Spoken]]:
    """Return the words of each recording, by the name of its audio file without ending.

    Args:
        path: an item file, whose first line begins with ``#file``, its words in place of phones; or a CTM file,
            ``FILE CHANNEL START DURATION WORD`` on every line, ``;;`` before comments.

    Raises:
        ItemError: it cannot be read, or has no word; the message names the line.
    """
    lines, problems = read_lines(Path(path))
    if problems:
        raise ItemError(problems[0])
    found: dict[str, list[Spoken]] = {}
    if lines[0].startswith("#file"):
        for item in read_items(path):
            found.setdefault(item.file, []).append(Spoken(item.onset, item.offset, item.phone))
        return found
    parsed, faults = parse(lines, _ctm, first=1)
    if faults:
        raise ItemError(f"{absolute(path)}, line {faults[0][0]}: {faults[0][1]}")
    for name, spoken in filter(None, parsed):
        found.setdefault(name, []).append(spoken)
    if not found:
        raise ItemError(f"{absolute(path)}: has no word")
    return found


def _ctm(line: str, _number: int) -> tuple[str, Spoken] | None:
    """Return file and word of a line; None of a comment or an empty line."""
    cells = line.split()
    if not cells or cells[0].startswith(";;"):
        return None
    if len(cells) < 5:
        raise ValueError(f"{len(cells)} cells; a CTM line has FILE CHANNEL START DURATION WORD")
    try:
        start, duration = map(float, cells[2:4])
    except ValueError:
        start = duration = math.nan
    if not (0 <= start < math.inf and 0 < duration < math.inf):
        raise ValueError(f"start {cells[2]}, duration {cells[3]}: they must be seconds, the duration above 0")
    return cells[0], Spoken(start, start + duration, cells[4])
