"""Writing manifests: the counterpart of :mod:`~fairseq_parp.manifests.reading`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ManifestError, absolute
from fairseq_parp.files import writing_to


class Utterance(NamedTuple):
    """One line of each file: path relative to the root, frames (samples), labels, words ("" for no ``.wrd``).

    ``image`` is the id of the picture that the utterance describes; "" for no ``.img``.
    """

    path: str
    frames: int
    labels: str
    words: str = ""
    image: str = ""


def split_files(root: str | None, split: str, kind: str | None, utterances: Sequence[Utterance]) -> dict[str, str]:
    """Return name and content of a split's files: tsv, labels of ``kind``; wrd and img where there is something.

    Without a root the utterances have no audio, and there is no tsv.
    """
    files: dict[str, str] = {}
    if root is not None:
        files[f"{split}.tsv"] = _lines([root, *(f"{u.path}\t{u.frames}" for u in utterances)])
    if kind is not None:
        files[f"{split}.{kind}"] = _lines([u.labels for u in utterances])
    for ending, lines in (("wrd", [u.words for u in utterances]), ("img", [u.image for u in utterances])):
        if any(lines):
            files[f"{split}.{ending}"] = _lines(lines)
    return files


def dictionary_file(kind: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Return name and content of the dictionary, in the order of ``counts``."""
    return {f"dict.{kind}.txt": _lines([f"{symbol} {count}" for symbol, count in counts.items()])}


def write_together(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder: all of them whole or, if writing any of them fails, none.

    Everything is on the disk before the first old file is replaced; each replacement is atomic.

    Raises:
        ManifestError: the folder cannot be written to, or the disk is full; its old files are as they were.
    """
    try:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as staging:
                for name, text in files.items():
                    _write(Path(staging, name), text)
                for name in files:
                    Path(staging, name).replace(folder / name)
    except OSError as error:
        raise ManifestError([f"{absolute(folder)}: {error.strerror or error}"]) from error


def _write(file: Path, text: str) -> None:
    with file.open("x", encoding="utf-8", newline="\n") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
