"""The only reader of a data folder's files: fairseq's content, and the problems in it.

Readers never stop at the first fault: each result has its ``problems``, one line each, as
``FILE:LINE: fault, value, allowed values``. fairseq's ``FileAudioDataset``, ``Dictionary`` and ``tokenize_line`` read
the same content from a file without problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from reprlib import repr as short
from typing import NamedTuple, TypeVar

from fairseq_parp.errors import absolute
from fairseq_parp.kinds import unreadable

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
"""Symbols that fairseq puts in front of every dictionary; ``<s>`` is the CTC blank."""

WHOLE = (".npy", ".wav", ".flac", ".ogg")
"""File endings that fairseq opens whole; any other path is split at ``:`` into file, offset, length."""

Parsed = TypeVar("Parsed")


class Entry(NamedTuple):
    """One utterance of a manifest: path relative to the root, length in frames (samples), line in the tsv."""

    path: str
    frames: int
    line: int


class Location(NamedTuple):
    """The place of audio: a file, or ``length`` bytes from ``offset`` on in a stored (uncompressed) zip."""

    file: str
    offset: int | None = None
    length: int | None = None


@dataclass(frozen=True)
class Manifest:
    """A ``SPLIT.tsv``: root folder ("" if line 1 is no folder), utterances, number of lines after the root.

    ``lines`` counts the lines that are no :class:`Entry` too, as each of them has its label line.
    """

    file: Path
    root: str
    entries: tuple[Entry, ...]
    lines: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Labels:
    """A ``SPLIT.<labels>`` or ``SPLIT.wrd``; ``lines[i]`` belongs to line ``i + 2`` of the tsv."""

    file: Path
    lines: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """A ``dict.<labels>.txt``: its symbols, in the order of fairseq's indices after SPECIALS, and their counts."""

    file: Path
    symbols: tuple[str, ...]
    counts: tuple[int, ...]
    problems: tuple[str, ...]


def read_manifest(file: Path) -> Manifest:
    """Read a ``SPLIT.tsv``: the root folder on line 1, then ``PATH<tab>FRAMES`` on every line."""
    lines, problems = read_lines(file)
    root, root_faults = _root(lines)
    entries, faults = parse(lines[1:], _entry, first=2)
    faults += ((entry.line, fault) for entry in entries if (fault := path_fault(root, entry.path)))
    faults += doubled((entry.path, entry.line) for entry in entries)
    faults += ((1, fault) for fault in root_faults)
    return Manifest(file, root, tuple(entries), len(lines[1:]), tuple(problems + shown(file, faults)))


def read_labels(file: Path) -> Labels:
    """Read a label or word file: one line per utterance, symbols between spaces."""
    lines, problems = read_lines(file)
    empty = "no labels; an utterance needs one, or leave it out of the tsv and the label files"
    faults = [(number, empty) for number, line in enumerate(lines, start=1) if not line.strip()]
    return Labels(file, tuple(lines), tuple(problems + shown(file, faults)))


def read_vocabulary(file: Path) -> Vocabulary:
    """Read a dictionary: ``SYMBOL COUNT`` on every line, optionally with the flag ``#fairseq:overwrite``."""
    lines, problems = read_lines(file)
    symbols, faults = parse(lines, _symbol, first=1)
    faults += ((symbol.line, fault) for symbol in symbols if (fault := _symbol_fault(symbol)))
    faults += doubled(((symbol.name, symbol.line) for symbol in symbols), but={s.line for s in symbols if s.overwrite})
    names, counts = tuple(symbol.name for symbol in symbols), tuple(symbol.occurrences for symbol in symbols)
    return Vocabulary(file, names, counts, tuple(problems + shown(file, faults)))


def read_lines(file: Path) -> tuple[list[str], list[str]]:
    """Return the lines of a UTF-8 text file, without their ends, and its problems as text."""
    try:
        data = file.read_bytes()
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [f"{file}:{line}: byte {data[error.start]:#04x} is {unreadable(file, error)}"]
    except OSError as error:
        return [], [f"{absolute(file)}: {unreadable(file, error)}"]
    if not text:
        return [], [f"{file}:1: the file is empty"]
    faults = []
    if text.startswith("\ufeff"):
        faults.append((1, "begins with a byte-order mark; save the file as UTF-8 without one"))
    if "\r" in text:
        line = text.count("\n", 0, text.index("\r")) + 1
        faults.append((line, "ends in a carriage return (CRLF); lines end in LF alone (dos2unix mends the file)"))
    # Universal newlines, as fairseq opens its files; str.splitlines() would split at more than these.
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n"), shown(file, faults)


def parse(
    lines: Iterable[str], parse_line: Callable[[str, int], Parsed], first: int
) -> tuple[list[Parsed], list[tuple[int, str]]]:
    """Parse each line with ``parse_line(text, number)``, counting from ``first``; its ValueErrors become faults."""
    parsed, faults = [], []
    for number, line in enumerate(lines, start=first):
        try:
            parsed.append(parse_line(line, number))
        except ValueError as error:
            faults.append((number, str(error)))
    return parsed, faults


def shown(file: Path, faults: Iterable[tuple[int, str]]) -> list[str]:
    """Return faults, given as (line, text), as problems of ``file`` in the order of its lines."""
    return [f"{file}:{line}: {fault}" for line, fault in sorted(faults, key=lambda fault: fault[0])]


def doubled(named: Iterable[tuple[str, int]], but: Iterable[int] = ()) -> Iterator[tuple[int, str]]:
    """Yield a fault for every (name, line) whose name an earlier line has too, lines ``but`` excepted.

    >>> list(doubled([("a", 2), ("b", 3), ("a", 4)]))
    [(4, "'a' is already on line 2; it may occur once")]
    """
    seen: dict[str, int] = {}
    for name, line in named:
        if seen.setdefault(name, line) != line and line not in but:
            yield line, f"{name!r} is already on line {seen[name]}; it may occur once"


def locate(root: str, path: str) -> Location:
    """Return where fairseq looks for the audio of ``path``: its ``parse_path``.

    Raises:
        ValueError: the path is neither a file that fairseq opens whole nor ``FILE:OFFSET:LENGTH``.

    >>> locate("/data", "a/1.flac")
    Location(file='/data/a/1.flac', offset=None, length=None)
    >>> locate("/data", "all.zip:120:8000")
    Location(file='/data/all.zip', offset=120, length=8000)
    """
    whole = f"{root.rstrip('/')}/{path}"
    if ":" not in whole or PurePosixPath(whole).suffix in WHOLE:
        return Location(whole)
    file, offset, length = whole.split(":")
    return Location(file, int(offset), int(length))


def path_fault(root: str, path: str) -> str | None:
    """Return the fault in an utterance's path itself, or None; the existence of the file is not checked."""
    if path.startswith("/") or ".." in path.split("/"):
        return f"path {path!r} leaves the root folder; paths are relative to it and have no '..'"
    try:
        locate(root, path)
    except ValueError:
        return f"path {path!r} has a ':'; only FILE.zip:OFFSET:LENGTH and {', '.join(WHOLE)} may have one"
    return None


def _root(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Return the root folder, "" where line 1 is not one, and the faults of a manifest's line 1."""
    if not lines:  # unreadable, which is a problem already
        return "", []
    root = lines[0].strip()
    faults = [] if lines[1:] else ["no utterances; after the root folder, each line is PATH, one tab, FRAMES"]
    if not root or "\t" in root:
        return "", [f"{short(root)} is not a folder; line 1 is the root folder that the paths start from", *faults]
    return root, faults


def _entry(text: str, line: int) -> Entry:
    columns = text.strip().split("\t")
    if len(columns) != 2:
        what = f"{len(columns)} column(s) in {short(text)}" if text.strip() else "blank line"
        raise ValueError(f"{what}; each line is PATH, one tab, FRAMES")
    path, frames = columns
    # fairseq calls int(), which also takes '1_6' and other scripts' digits: these are never meant.
    if not (frames.isascii() and frames.isdigit() and int(frames)):
        raise ValueError(f"frames {short(frames)} is not a whole number above 0 (samples at 16 kHz)")
    return Entry(path, int(frames), line)


class _Symbol(NamedTuple):
    name: str
    occurrences: int
    overwrite: bool
    line: int


def _symbol(text: str, line: int) -> _Symbol:
    name, _, count = text.rstrip().rpartition(" ")
    if overwrite := count == "#fairseq:overwrite":
        name, _, count = name.rpartition(" ")
    if not count.removeprefix("-").isdecimal():
        raise ValueError(f"{short(text)} is not SYMBOL COUNT: one symbol, one space, a whole number")
    return _Symbol(name, int(count), overwrite, line)


def _symbol_fault(symbol: _Symbol) -> str | None:
    if symbol.name.split() != [symbol.name]:
        return f"symbol {symbol.name!r} is empty or has a space in it; label lines are split at spaces"
    if symbol.name in SPECIALS and not symbol.overwrite:
        return f"symbol {symbol.name!r} is fairseq's own; it adds {' '.join(SPECIALS)} by itself"
    return None
