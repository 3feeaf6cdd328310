"""``fairseq-parp manifest table``: manifests from a table of transcripts.

What it writes passes ``fairseq-parp manifest check``; if any row would not, nothing is written and
every such row is named.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.building import Source, Written, build, dictionary_for, write_folder
from fairseq_parp.manifests.labelling import dictionary
from fairseq_parp.manifests.subset import shuffled, within
from fairseq_parp.manifests.transcripts import Row, read_transcripts
from fairseq_parp.manifests.writing import Utterance


@dataclass(frozen=True)
class WrittenTable(Written):
    """What was written, and what the reader should know about it; symbols are counted over the whole table.

    Attributes:
        valid_speakers: those that were moved from train to valid.
        untrained: symbols of the dictionary that never occur in train, where there is a train split.
        unused: columns of the table that mean nothing here.
    """

    valid_speakers: Sequence[str]
    untrained: Sequence[str]
    unused: Sequence[str]


def write_table(
    transcripts: str | PathLike[str],
    out: str | PathLike[str],
    *,
    labels: str = "ltr",
    root: str | PathLike[str] | None = None,
    valid_speakers: int = 0,
    minutes: float | None = None,
    seed: int = 1,
    symbols: Mapping[str, int] | None = None,
) -> WrittenTable:
    """Write manifests, labels and dictionary for a table of transcripts.

    Args:
        transcripts: the table (:func:`~fairseq_parp.manifests.transcripts.read_transcripts`).
        out: folder for the files; manifests of the same names are replaced.
        labels: ``ltr`` (text becomes letters, and ``.wrd`` is written too) or ``phn`` (text is phones already).
        root: folder that the table's paths are relative to; by default the table's own.
        valid_speakers: move all utterances of this many random train speakers to ``valid``.
        minutes: keep a random part of train, of this many minutes at the most.
        seed: of both random choices.
        symbols: the dictionary to keep, with counts; None makes one of the table.

    Raises:
        ManifestError: rows that cannot be used, all of them, or symbols that ``symbols`` lacks; nothing was written.
        ConfigError: more speakers or minutes are asked for than there are.
    """
    file = Path(transcripts)
    folder = os.path.normpath(absolute(file.parent if root is None else root))
    if root is not None and not Path(folder).is_dir():
        raise ManifestError([f"{folder}: no such root folder"])
    table = read_transcripts(file, folder)
    built = build([Source(row.path, row.text, f"{file}:{row.line}") for row in table.rows], folder, labels)
    if problems := [*table.problems, *built.problems, *built.unaligned]:
        raise ManifestError(problems)
    speakers = _choose_speakers(table.rows, valid_speakers, seed)
    symbols = dictionary_for(built.utterances, symbols)
    splits = _splits(table.rows, built.utterances, speakers)
    if minutes is not None:
        _require_train(table.rows, "--minutes", minutes)
        splits["train"] = _shortened(splits["train"], minutes, seed)
    trained = dictionary(utterance.labels for utterance in splits.get("train", built.utterances))
    untrained = [symbol for symbol in symbols if symbol not in trained]
    written = WrittenTable(splits, symbols, speakers, untrained, table.unused)
    write_folder(Path(out), folder, labels, written)
    return written


def _choose_speakers(rows: Sequence[Row], count: int, seed: int) -> list[str]:
    if not count:
        return []
    if any(row.split == "valid" for row in rows):
        raise ConfigError("--valid-speakers", count, "the table has a valid split already")
    _require_train(rows, "--valid-speakers", count)
    speakers = {row.speaker for row in rows if row.split == "train"}
    if "" in speakers:
        raise ConfigError("--valid-speakers", count, "needs a column 'speaker', filled in every train row")
    if not 0 < count < len(speakers):
        several = f"from 1 to {len(speakers) - 1}; train has {len(speakers)} speakers"
        raise ConfigError("--valid-speakers", count, several if len(speakers) > 1 else "train has only one speaker")
    return sorted(shuffled(speakers, seed)[:count])


def _require_train(rows: Sequence[Row], option: str, value: float) -> None:
    """Check that there is a split that the option chooses from."""
    splits = dict.fromkeys(row.split for row in rows)
    if "train" not in splits:
        raise ConfigError(option, value, f"takes from the split train, which the table lacks; it has {listing(splits)}")


def _splits(
    rows: Sequence[Row], utterances: Sequence[Utterance], to_valid: Sequence[str]
) -> dict[str, list[Utterance]]:
    splits: dict[str, list[Utterance]] = defaultdict(list)
    for row, utterance in zip(rows, utterances, strict=True):
        moved = row.split == "train" and row.speaker in to_valid
        splits["valid" if moved else row.split].append(utterance)
    return dict(splits)


def _shortened(train: Sequence[Utterance], minutes: float, seed: int) -> list[Utterance]:
    """Return a random part of train, in the order of the table."""
    frames = {utterance.path: utterance.frames for utterance in train}
    there = sum(frames.values()) / RATE / 60
    if not 0 < minutes <= there:
        raise ConfigError("--minutes", minutes, f"above 0, up to the {there:.1f} minutes of train")
    kept = within(frames, round(minutes * 60 * RATE), seed)
    if not kept:
        raise ConfigError("--minutes", minutes, "too little for a single utterance of train")
    return [utterance for utterance in train if utterance.path in kept]
