"""Tables of texts: one row an example, tab-separated, the names of the columns in the first line; nothing is quoted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.kinds import unreadable
from fairseq_parp.text.vocabulary import is_own

TEXTS, LABEL = ("text", "text2"), "label"
"""Names of the columns where none are given; ``text2`` and ``label`` may be missing."""


class Example(NamedTuple):
    """One row: one or two texts, the label ("" where the table has none), and the row's line in the file."""

    texts: tuple[str, ...]
    label: str
    line: int


@dataclass(frozen=True)
class Table:
    """A table that was read and found good.

    Attributes:
        file: it was read from.
        texts: how many texts an example has, 1 or 2.
        labelled: whether examples have labels.
        examples: the examples in the order of the file.
    """

    file: Path
    texts: int
    labelled: bool
    examples: tuple[Example, ...]


def read_table(file: Path, texts: Sequence[str] | None = None, label: str | None = None) -> Table:
    """Read a table.

    Args:
        file: UTF-8.
        texts: names of the one or two columns of text; None takes ``text``, and ``text2`` where it is there.
        label: name of the column of labels; None takes ``label`` where it is there.

    Raises:
        ConfigError: the columns that are named are more than two texts, or one column serves twice.
        ManifestError: it cannot be read or has no examples, lacks a column or has it twice, or has a row that cannot be
            used: another number of cells, an empty text, an empty label, one with a space or one of fairseq's own
            symbols. All such rows are named.
    """
    lines = lines_of(file)
    names = lines[0].split("\t") if lines else []
    chosen = list(texts) if texts else [name for name in TEXTS if name in names] or [TEXTS[0]]
    wanted = label or (LABEL if LABEL in names else None)
    columns = [*chosen, *([wanted] if wanted else [])]
    if len(chosen) > 2:
        raise ConfigError("--text", " ".join(chosen), "names one column, or two for pairs of texts")
    if double := [name for name in columns if columns.count(name) > 1]:
        allowed = f"the column {double[0]!r} serves twice; --label names that of the labels"
        raise ConfigError("--text", " ".join(chosen), allowed)
    if missing := [name for name in columns if name not in names]:
        found = listing(names) or "none"
        way_out = "the first line names the columns; --text and --label name others"
        raise ManifestError([f"{absolute(file)}:1: no column {missing[0]!r}, the columns are {found}; {way_out}"])
    if double := [name for name in columns if names.count(name) > 1]:
        raise ManifestError([f"{absolute(file)}:1: several columns have the name {double[0]!r}; rename all but one"])
    places = [names.index(name) for name in columns]
    examples, problems = [], []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        where = f"{absolute(file)}:{number}"
        if len(cells) != len(names):
            problems.append(f"{where}: {len(cells)} cells, the first line has {len(names)}")
            continue
        values = [cells[place].strip() for place in places]
        named = unicodedata.normalize("NFC", values[-1]) if wanted else ""
        example = Example(tuple(values[: len(chosen)]), named, number)
        problems += [f"{where}: {fault}" for fault in _faults(example, chosen, wanted)]
        examples.append(example)
    if problems or not examples:
        raise ManifestError(problems or [f"{absolute(file)}: has no examples; the first line names the columns"])
    return Table(file, len(chosen), wanted is not None, tuple(examples))


def lines_of(file: Path) -> list[str]:
    """Return the lines of a text file, UTF-8.

    Raises:
        ManifestError: it cannot be read.
    """
    try:
        # Not splitlines: texts may hold the other ends of lines that it knows.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError([f"{absolute(file)}: {unreadable(file, error)}"]) from None
    return lines[:-1] if lines[-1] == "" else lines


def _faults(example: Example, texts: Sequence[str], label: str | None) -> Iterable[str]:
    for name, text in zip(texts, example.texts, strict=True):
        if not text:
            yield f"the text is empty (column {name!r}); remove the row"
    if label and not example.label:
        yield f"the label is empty (column {label!r}); remove the row"
    elif label and len(example.label.split()) > 1:
        yield f"the label {example.label!r} has a space, which ends a label in fairseq; write it with an underscore"
    elif label and is_own(example.label):
        yield f"the label {example.label!r} is a symbol of fairseq's own; use another name"
