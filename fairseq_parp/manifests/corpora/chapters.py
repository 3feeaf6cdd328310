"""Chapters of LibriSpeech and Libri-light: a folder of FLACs and ``SPEAKER-CHAPTER.trans.txt``, their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.manifests.building import Source
from fairseq_parp.manifests.reading import doubled, parse, read_lines, shown


class Chapter(NamedTuple):
    """One chapter's folder.

    Attributes:
        sources: the utterances that have audio and text, by id, in the order of their names.
        silent: ids that have text only.
        problems: problems of the transcript; FLACs without a text are among them.
    """

    sources: dict[str, Source]
    silent: list[str]
    problems: list[str]


class _Line(NamedTuple):
    id: str
    text: str
    line: int


def chapter_folders(subset: Path) -> Iterator[Path]:
    """Yield the chapter folders ``SPEAKER/CHAPTER`` of a subset, in the order of their names."""
    for speaker in _numbered(subset):
        yield from _numbered(speaker)


def read_chapters(folders: Sequence[Path], root: Path) -> Chapter:
    """Read chapters as if they were one; the sources' paths are relative to ``root``."""
    together = Chapter({}, [], [])
    for folder in folders:
        chapter = read_chapter(folder, root)
        twice = sorted(chapter.sources.keys() & together.sources.keys())
        together.problems.extend(f"{folder}: {name} is also {together.sources[name].path}" for name in twice)
        together.sources.update(chapter.sources)
        together.silent.extend(chapter.silent)
        together.problems.extend(chapter.problems)
    return together


def read_chapter(folder: Path, root: Path) -> Chapter:
    """Read the transcript of one chapter, and ask which of its utterances have a FLAC; none is opened."""
    name = f"{folder.parent.name}-{folder.name}"
    file = folder / f"{name}.trans.txt"
    text, problems = read_lines(file)
    lines, faults = parse(text, lambda line, number: _line(name, line, number), first=1)
    faults += doubled((line.id, line.line) for line in lines)
    by_id = {line.id: line for line in lines}
    flacs = {flac.stem for flac in folder.glob("*.flac")}
    path = folder.relative_to(root).as_posix()
    sources = {
        utterance: Source(f"{path}/{utterance}.flac", by_id[utterance].text, f"{file}:{by_id[utterance].line}")
        for utterance in sorted(flacs & by_id.keys())
    }
    problems += shown(file, faults)
    if not problems:
        problems = [f"{file}: no line for {flac}.flac, which exists" for flac in sorted(flacs - by_id.keys())]
    return Chapter(sources, sorted(by_id.keys() - flacs), problems)


def _line(chapter: str, text: str, number: int) -> _Line:
    utterance, _, words = text.strip().partition(" ")
    if not utterance.startswith(f"{chapter}-"):
        raise ValueError(f"id {utterance!r} is not of this chapter; each line is {chapter}-NNNN, a space, the text")
    if not words.strip():
        raise ValueError(f"{utterance} has no text")
    return _Line(utterance, words, number)


def _numbered(folder: Path) -> list[Path]:
    return sorted(inside for inside in folder.iterdir() if inside.name.isdigit() and inside.is_dir())
