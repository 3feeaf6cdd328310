"""The forms of a user's own corpus: a table, Hugging Face's metadata.csv, Kaldi folders, audio beside text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.manifests.kaldi import is_kaldi, read_kaldi
from fairseq_parp.manifests.reading import read_lines
from fairseq_parp.manifests.transcripts import TranscriptRow, Transcripts, checked, merged, read_transcripts, relative

METADATA = "metadata.csv"
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".m4a", ".wma", ".webm", ".sph", ".aac")
SPLITS = ("train", "valid", "test", "dev", "eval", "training", "validation", "testing", "val")
"""Folders of these names, at the top of a corpus, are its splits."""


def read_corpus(source: Path, root: str | None, label: str | None = None) -> Transcripts:
    """Read a corpus in any of its forms.

    Args:
        source: a table (.tsv, .csv); or a folder: Kaldi's, one with a metadata.csv, one of such folders (each is a
            split), or one in which every audio file has a text file of the same name beside it.
        root: folder that paths are relative to; by default the source's own. Kaldi's relative paths then start from
            the folder, and absolute ones may lie anywhere.
        label: column of a table whose labels are read in place of the text.

    Raises:
        ManifestError: the corpus has none of these forms.
        ConfigError: ``label`` is given and the corpus is no table.
    """
    if not source.is_dir():
        return read_transcripts(source, root or _normal(source.parent), text=label or "text")
    if label is not None:
        raise ConfigError("--label", label, f"names a column of a table (.tsv, .csv); {absolute(source)} is a folder")
    named = [(child.name, child) for child in sorted(source.iterdir()) if child.is_dir()]
    for holds, read in ((is_kaldi, _kaldi), (_has_metadata, _metadata)):
        parts = [("train", source)] if holds(source) else [part for part in named if holds(part[1])]
        if parts:
            return read(source, parts, root)
    return _beside(source, _normal(source))


def _normal(folder: Path) -> str:
    return os.path.normpath(absolute(folder))


def _has_metadata(folder: Path) -> bool:
    return (folder / METADATA).is_file()


def _metadata(source: Path, parts: list[tuple[str, Path]], root: str | None) -> Transcripts:
    base = root or _normal(source)
    return merged(
        (read_transcripts(part / METADATA, base, split=split, below=_normal(part)) for split, part in parts), base
    )


def _kaldi(source: Path, parts: list[tuple[str, Path]], root: str | None) -> Transcripts:
    read = [read_kaldi(part, root or "/", root or _normal(part), split) for split, part in parts]
    rows = [row for part in read for row in part.rows]
    problems = tuple(problem for part in read for problem in part.problems)
    base = root or os.path.commonpath({os.path.dirname(f"/{row.path}") for row in rows} or {_normal(source)})  # noqa: PTH120
    inside = tuple(row if root else row._replace(path=relative(f"/{row.path}", base)) for row in rows)
    return Transcripts(base, inside, problems=problems)


def _beside(source: Path, root: str) -> Transcripts:
    """Read a folder of audio and text files of the same names; the folder that a file lies in is its speaker."""
    files = sorted(file for file in source.rglob("*") if file.is_file() and not file.name.startswith("."))
    sounds = [file for file in files if file.suffix.lower() in AUDIO]
    texts = {file.with_suffix("") for file in files if file.suffix.lower() == ".txt"}
    if not sounds or not texts:
        forms = "a table of transcripts, a Kaldi folder, a metadata.csv, or audio and .txt files of the same names"
        tables = sorted(file for file in source.iterdir() if file.suffix.lower() in (".tsv", ".csv"))
        meant = f"; for the table in this folder give {listing(tables)} itself" if tables else ""
        raise ManifestError([f"{root}: no transcripts that can be read here; they are {forms}{meant}"])
    heard = {file.with_suffix("") for file in sounds}
    alone = [f"{stem}.txt: no audio file of that name beside it" for stem in sorted(texts - heard)]
    rows, problems = (
        [],
        [f"{file}: no {file.stem}.txt beside it" for file in sounds if file.with_suffix("") not in texts],
    )
    for file in sounds:
        if file.with_suffix("") in texts:
            row, faults = _told(file, source, root)
            rows += [row] if row else []
            problems += faults
    return Transcripts(root, tuple(rows), problems=(*problems, *alone, *_twice(rows)))


def _told(file: Path, source: Path, root: str) -> tuple[TranscriptRow | None, list[str]]:
    lines, problems = read_lines(file.with_suffix(".txt"))
    if not lines:
        return None, problems
    folders = file.relative_to(source).parts[:-1]
    split = folders[0] if folders and folders[0] in SPLITS else "train"
    speaker = folders[-1] if folders and folders[-1] != split else ""
    place = f"{file.with_suffix('.txt')}:1"
    try:
        row = TranscriptRow(file.relative_to(source).as_posix(), " ".join(lines).strip(), split, speaker, place)
        return checked(row, root), []  # a byte-order mark or CRLF is no matter of one text
    except ValueError as error:
        return None, [f"{place}: {error}"]


def _twice(rows: list[TranscriptRow]) -> Iterator[str]:
    """Yield a problem for every text that two audio files share: one recording in two formats."""
    by_text: dict[str, list[str]] = {}
    for row in rows:
        by_text.setdefault(row.place, []).append(row.path)
    for place, paths in by_text.items():
        if len(paths) > 1:
            yield f"{place.removesuffix(':1')}: belongs to {listing(paths)}; leave one of them"
