"""Item files of the ZeroSpeech challenges: a token a line, with the phones before and after it and its speaker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from fairseq_parp.errors import ItemError, absolute
from fairseq_parp.files import write_whole
from fairseq_parp.kinds import unreadable

HEAD = "#file onset offset #phone prev-phone next-phone speaker"


@dataclass(frozen=True)
class Item:
    """One token.

    Attributes:
        file: name of the audio file, without its ending.
        onset, offset: its start and end in seconds.
        phone: the phone that is compared.
        before, after: the phones beside it.
        speaker: the speaker's name.
    """

    file: str
    onset: float
    offset: float
    phone: str
    before: str
    after: str
    speaker: str

    @property
    def context(self) -> tuple[str, str]:
        """The phones beside it; tokens are compared in the same context only."""
        return self.before, self.after


def read_items(path: str | Path) -> list[Item]:
    """Read an item file.

    Raises:
        ItemError: it cannot be read or has no token, or a line does not have the form; the message names the line.
    """
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ItemError(f"{absolute(file)}: {unreadable(file, error)}") from None
    if not lines or not lines[0].startswith("#file"):
        first = lines[0][:60] if lines else ""
        raise ItemError(f"{absolute(file)}, line 1: {first!r} is not the head of an item file: {HEAD}")
    items = [_item(file, number, line) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    if not items:
        raise ItemError(f"{absolute(file)}: has no token")
    return items


def _item(file: Path, number: int, line: str) -> Item:
    cells = line.split()
    if len(cells) != len(HEAD.split()):
        raise ItemError(f"{absolute(file)}, line {number}: {len(cells)} cells; an item has {HEAD}")
    try:
        onset, offset = map(float, cells[1:3])
    except ValueError:
        onset = offset = math.nan
    if not 0 <= onset < offset < math.inf:
        raise ItemError(f"{absolute(file)}, line {number}: onset {cells[1]}, offset {cells[2]}: seconds must ascend")
    return Item(cells[0], onset, offset, *cells[3:])


def write_items(path: str | Path, items: Iterable[Item]) -> None:
    """Write an item file, whole or not at all."""
    lines = [" ".join(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in astuple(item)) for item in items]
    write_whole(path, "\n".join([HEAD, *lines, ""]).encode())


def by_file(
    items: Sequence[Item], files: Mapping[str, Path], where: str | Path, folder: str | Path
) -> dict[Path, list[int]]:
    """Return the numbers of the items of each audio file.

    Args:
        items: items of the file ``where``.
        files: audio files by name without ending.
        where: name of the file in messages.
        folder: folder of the audio files, for messages.

    Raises:
        ItemError: an item's file is not there.
    """
    found: dict[Path, list[int]] = {}
    for number, item in enumerate(items):
        if item.file not in files:
            missing = len({each.file for each in items} - files.keys())
            raise ItemError(
                f"{absolute(where)}, line {number + 2}: no audio file {item.file} in or below {absolute(folder)} "
                f"({missing} files of it are missing); --audio names the folder"
            )
        found.setdefault(files[item.file], []).append(number)
    return found
