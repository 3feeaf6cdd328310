"""Text for audio files of several languages, in one process over one base."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from fairseq_parp.checkpoints.finetuned import POOLED_HEAD
from fairseq_parp.errors import ConfigError, ManifestError, PartError, absolute
from fairseq_parp.kinds import unreadable
from fairseq_parp.parts.loading import Parts
from fairseq_parp.transcription.timing import Transcript
from fairseq_parp.transcription.transcriber import Transcriber

COLUMNS = ("path", "language")


class Recording(NamedTuple):
    """One line of a table: the written path of an audio file, its place on disk, and its language."""

    name: str
    path: Path
    language: str


class PartsTranscriber:
    """Parts that are loaded once and transcribe any number of files, each in its language.

    Attributes:
        parts: the base and its parts.
    """

    def __init__(
        self, base: str | Path, parts: Mapping[str, str | Path], *, beam: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:  # fmt: skip
        """Load; arguments and errors are those of :class:`Parts` and of :class:`Transcriber`.

        Raises:
            PartError: a part is of a classifier.
        """
        self.parts = Parts(base, parts, device)
        for language, part in self.parts.parts.items():
            if POOLED_HEAD in part.shapes:
                raise PartError(parts[language], "gives a label to an utterance, and no text; use Parts in Python")
        self._transcribers = {
            language: Transcriber.of(self.parts.switch(language), beam=beam, device=self.parts.device)
            for language in parts
        }

    def timed(self, path: str | Path, language: str) -> Transcript:
        """Transcribe one file, with the start and the end of each word in seconds.

        Raises:
            AudioError: the file is missing or unreadable, or too short.
            ConfigError: the language is not loaded.
        """
        self.parts.switch(language)
        return self._transcribers[language].timed(path)


def read_table(path: str | Path, languages: Mapping[str, object]) -> list[Recording]:
    """Read a table of audio files and languages.

    Args:
        path: tab-separated, with a header line and the columns ``path`` and ``language``; relative paths are relative
            to the table's folder.
        languages: the loaded languages.

    Raises:
        ConfigError: a language is not loaded; the message names the line.
        ManifestError: the table cannot be read, or lacks a column or a cell.
    """
    shown = absolute(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError([f"{shown}: {unreadable(path, error)}"]) from None
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    if lacking := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        header = " ".join(rows.fieldnames or ())
        raise ManifestError([f"{shown}:1: no column {lacking[0]!r}; the header is {header!r}, tabs between columns"])
    found = []
    for row in rows:
        name, language = row["path"], row["language"]
        where = f"{shown}:{rows.line_num}"
        if not name or not language:
            raise ManifestError([f"{where}: a cell of {', '.join(COLUMNS)} is empty"])
        if language not in languages:
            raise ConfigError(f"{where}: language", language, f"is not loaded; loaded are {', '.join(languages)}")
        found.append(Recording(name, Path(path).parent / name, language))
    if not found:
        raise ManifestError([f"{shown}: no line below the header"])
    return found
