"""``fairseq-parp manifest table``: manifests from a user's own corpus.

The written folder passes ``fairseq-parp manifest check``. If an utterance would not pass, nothing is written, and every
such utterance is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fairseq_parp.errors import ConfigError, ManifestError, absolute
from fairseq_parp.kinds import no_folder
from fairseq_parp.manifests.building import Source, Written, build, dictionary_for, write_folder
from fairseq_parp.manifests.cautions import cautions
from fairseq_parp.manifests.choosing import Speakers, Wanted, choose
from fairseq_parp.manifests.cutting import cut, require_whole
from fairseq_parp.manifests.labelling import CLASS, LABELLERS, dictionary, graphemes
from fairseq_parp.manifests.sources import read_corpus
from fairseq_parp.manifests.transcripts import TranscriptRow, Transcripts
from fairseq_parp.manifests.writing import Utterance


@dataclass(frozen=True)
class WrittenTable(Written):
    """The written folder, and remarks for the user; symbols are counted over the whole corpus.

    Attributes:
        moved: speakers that were moved from train, by the split that they are in now.
        untrained: symbols of the dictionary that never occur in train, if there is a train split.
        unused: columns of the table that are not read.
        renamed: columns that stand for others.
        conversion: a line for each kind of converted audio, with the result.
        warnings: allowed but often unintended properties, a line each.
    """

    moved: Mapping[str, Sequence[str]]
    untrained: Sequence[str]
    unused: Sequence[str]
    renamed: Sequence[str]
    conversion: Sequence[str]
    warnings: Sequence[str]


def write_table(
    transcripts: str | PathLike[str],
    out: str | PathLike[str],
    *,
    labels: str = "ltr",
    label: str | None = None,
    root: str | PathLike[str] | None = None,
    valid_speakers: Speakers = 0,
    test_speakers: Speakers = 0,
    valid_minutes: float | None = None,
    test_minutes: float | None = None,
    minutes: float | None = None,
    seed: int = 1,
    symbols: Mapping[str, int] | None = None,
    together: bool = False,
    audio: str | PathLike[str] | None = None,
    processes: int | None = None,
) -> WrittenTable:
    """Write manifests, labels and dictionary for a corpus.

    Args:
        transcripts: the corpus, in a form that :func:`~fairseq_parp.manifests.sources.read_corpus` reads.
        out: folder for the files; manifests of the same names are replaced.
        labels: ``ltr`` (text becomes letters, and ``.wrd`` is written too) or ``phn`` (text is phones already).
        label: column of a table that holds a label for each whole utterance, such as ``speaker``; in place of text.
        root: folder to which the corpus' paths are relative; by default its own.
        valid_speakers: move all utterances of these, or of this number of random ones, from train to ``valid``.
        test_speakers: likewise, to ``test``.
        valid_minutes: move random utterances of at most this duration from train to ``valid``.
        test_minutes: likewise, to ``test``.
        minutes: keep a random part of train, of this many minutes at the most.
        seed: seed of the random choices.
        symbols: the dictionary to keep, with counts; None makes one of the corpus.
        together: whether a combining mark and its letter are one label.
        audio: folder for clips: every utterance is cut out and converted to 16 kHz mono; None uses the files
            unchanged.
        processes: number of converting processes; None means one per core.

    Raises:
        ManifestError: utterances cannot be used, or ``symbols`` lacks symbols; the error names all of them, and no
            manifest was written.
        ConfigError: more speakers or minutes are requested than exist.
    """
    labels = labels if label is None else CLASS
    source, base = Path(transcripts), None if root is None else os.path.normpath(absolute(root))
    if base is not None and not Path(base).is_dir():
        raise ManifestError([f"{base}: {no_folder(base)}; --root names the folder of the audio"])
    if together and labels != "ltr":
        raise ConfigError("--graphemes", labels, "is for letters (--labels ltr)")
    table = read_corpus(source, base, label)
    if audio is not None and not table.problems:
        _require_labels(table.rows, graphemes if together else LABELLERS[labels], symbols)
    rows, folder, conversion = _with_audio(table, audio, processes)
    sources = [Source(row.path, row.text, row.place, row.image) for row in rows]
    built = build(sources, folder, labels, label=graphemes if together else None)
    if problems := [*table.problems, *built.problems, *built.unaligned]:
        raise ManifestError(problems)
    wanted = Wanted(valid_speakers, test_speakers, valid_minutes, test_minutes, minutes, seed)
    chosen = choose(rows, built.utterances, wanted)
    symbols = dictionary_for(built.utterances, symbols)
    trained = dictionary(utterance.labels for utterance in chosen.splits.get("train", built.utterances))
    if label is not None:
        _require_two_labels(label, trained if "train" in chosen.splits else symbols, source)
    written = WrittenTable(
        chosen.splits,
        symbols,
        chosen.moved,
        [symbol for symbol in symbols if symbol not in trained],
        table.unused,
        table.renamed,
        conversion,
        cautions(chosen.splits, labels, symbols, (utterance.words for utterance in built.utterances)),
    )
    write_folder(Path(out), folder, labels, written)
    return written


def _with_audio(
    table: Transcripts, audio: str | PathLike[str] | None, processes: int | None
) -> tuple[Sequence[TranscriptRow], str, Sequence[str]]:
    """Return the rows, the folder to which their paths are relative, and the report of the conversion."""
    if audio is None:
        require_whole(table.rows)
        return table.rows, table.root, ()
    if table.problems:  # the audio of rows that cannot be used is not looked for
        raise ManifestError(table.problems)
    folder = os.path.normpath(absolute(audio))
    clips = cut(table.rows, table.root, Path(folder), processes)
    return tuple(clips.rows), folder, clips.notes


def _require_labels(
    rows: Sequence[TranscriptRow], labels_of: Callable[[str], str], symbols: Mapping[str, int] | None
) -> None:
    """Check the labels before audio is converted, which takes long.

    Raises:
        ManifestError: a text gives no labels, or ``symbols`` lacks some.
    """
    problems, labelled = list[str](), list[Utterance]()
    for row in rows:
        try:
            labelled.append(Utterance(row.path, 0, labels_of(row.text)))
        except ValueError as error:
            problems.append(f"{row.place}: {error}")
    if problems:
        raise ManifestError(problems)
    dictionary_for(labelled, symbols)


def _require_two_labels(column: str, labels: Mapping[str, int], source: Path) -> None:
    if len(labels) < 2:
        only = next(iter(labels), None)
        allowed = f"{absolute(source)} has one label to train on, {only!r}; a classifier needs two at least"
        raise ConfigError("--label", column, allowed)
