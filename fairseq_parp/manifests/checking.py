"""Checks that a data folder has all files that fairseq needs, and that they fit together.

There are two depths. The quick check (``audio=False``) runs before every training: it reads the text files and lists
the audio files. The full check, ``fairseq-parp manifest check``, also opens every audio file, and computes whether
CTC can align its labels.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import AudioError, ManifestError, absolute, listing
from fairseq_parp.kinds import no_folder
from fairseq_parp.manifests.audio import read_headers
from fairseq_parp.manifests.ctc import CONVOLUTIONS, ctc_fault
from fairseq_parp.manifests.labelling import CLASS
from fairseq_parp.manifests.reading import (
    SPECIALS,
    Entry,
    Labels,
    Location,
    Manifest,
    locate,
    path_fault,
    read_labels,
    read_manifest,
    read_vocabulary,
    shown,
)
from fairseq_parp.manifests.transcripts import is_table


class SplitReport(NamedTuple):
    """The result of a check of one split: its size in utterances and frames (samples), and its problems."""

    split: str
    utterances: int
    frames: int
    problems: list[str]


def require(
    folder: str | PathLike[str], split: str, labels: str | None, *, symbols: Collection[str] | None = None
) -> None:
    """Check quickly that fairseq can train on a split, before it tries to.

    Args:
        folder: the data folder (``task.data``).
        split: name of the manifest, as in ``dataset.train_subset``.
        labels: label kind such as ``ltr`` (``task.labels``), or None for audio alone.
        symbols: the label symbols to allow instead of those of ``dict.<labels>.txt``, such as a checkpoint's own.

    Raises:
        ManifestError: files or lines are missing or do not fit together; the error has every problem.
    """
    if problems := check_split(folder, split, labels, full=False, symbols=symbols):
        raise ManifestError(problems)


def unalignable(
    folder: str | PathLike[str], split: str, labels: str, convolutions: Sequence[tuple[int, int]]
) -> list[str]:
    """Return a line for every utterance with more labels than CTC can align; no audio is opened."""
    manifest = read_manifest(Path(folder) / f"{split}.tsv")
    return shown(manifest.file, _ctc_faults(manifest, read_labels(Path(folder) / f"{split}.{labels}"), convolutions))


def require_one_each(folder: str | PathLike[str], split: str, labels: str, training: bool = False) -> None:
    """Check that every utterance of a split has one label.

    Args:
        folder: the data folder.
        split: name of the split.
        labels: kind of the labels.
        training: whether a model trains on the split: two classes are needed then.

    Raises:
        ManifestError: an utterance has several labels, or all have the same one.
    """
    found = read_labels(Path(folder) / f"{split}.{labels}")
    if problems := shown(found.file, _several(found)):
        raise ManifestError(problems)
    if training and len(set(map(str.strip, found.lines))) < 2:
        reason = f"every label is {found.lines[0].strip()!r}; a classifier needs two at least"
        raise ManifestError([f"{found.file}: {reason}"])


def _several(labels: Labels) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(labels.lines, start=1):
        if len(line.split()) > 1:
            yield number, f"{len(line.split())} labels in {line!r}; an utterance has one, without spaces"


def require_long_enough(
    folder: str | PathLike[str], split: str, shortest: int, min_sample_size: int | None = None
) -> None:
    """Check by the manifest that a model can take every utterance; no audio is opened.

    Args:
        folder: of the data.
        split: name of the manifest.
        shortest: samples that the model needs.
        min_sample_size: samples below which the task leaves utterances out; None if it leaves out none.

    Raises:
        ManifestError: an utterance has fewer than ``shortest`` samples, and is not left out.
    """
    manifest = read_manifest(Path(folder) / f"{split}.tsv")
    way_out = "leave it out" if min_sample_size is None else f"task.min_sample_size={shortest} leaves out such"
    faults = [
        (each.line, f"{each.path}: too short: {each.frames} samples, the model needs {shortest}; {way_out}")
        for each in manifest.entries
        if (min_sample_size or 0) <= each.frames < shortest
    ]
    if faults:
        raise ManifestError(shown(manifest.file, faults))


def check_split(
    folder: str | PathLike[str],
    split: str,
    labels: str | None = None,
    *,
    full: bool = True,
    symbols: Collection[str] | None = None,
    convolutions: Sequence[tuple[int, int]] = CONVOLUTIONS,
) -> list[str]:
    """Return the problems of one split, one line each; arguments as for :func:`require`.

    Args:
        full: also open every audio file, check that CTC can align its labels, and check ``SPLIT.wrd``.
        convolutions: (kernel, stride) of each layer of the feature encoder, for the check of CTC.
    """
    if not Path(folder).is_dir():
        return [f"{absolute(folder)}: {no_folder(folder)}"]
    kinds = [labels] if labels else []
    return _inspect(Path(folder), split, kinds, full, symbols, convolutions).problems


def check_folder(
    folder: str | PathLike[str], splits: Sequence[str] | None = None, labels: str | None = None
) -> list[SplitReport]:
    """Check splits of a data folder in full.

    Args:
        splits: names of manifests; None means all that are in the folder.
        labels: label kind; None means each kind that has a dictionary in the folder.

    Raises:
        ManifestError: there is no such folder, or no manifest in it.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ManifestError([f"{absolute(path)}: {no_folder(path)}"])
    names = splits_in(path) if splits is None else list(splits)
    if not names:
        raise ManifestError([f"{absolute(path)}: no manifest in this folder, such as train.tsv"])
    kinds = [labels] if labels else kinds_in(path)
    return [_inspect(path, name, kinds, True, None, CONVOLUTIONS) for name in names]


def _absent(folder: Path, split: str) -> str | None:
    """Return the problem of a split that a folder with others lacks; None if it is there."""
    there = splits_in(folder)
    if (folder / f"{split}.tsv").exists() or not there:
        return None
    keys = "dataset.train_subset=, dataset.valid_subset= or fairseq-generate's --gen-subset names one of them"
    return f"{absolute(folder)}: no split {split!r} ({split}.tsv); it has {listing(there)}; {keys}"


def splits_in(folder: Path) -> list[str]:
    """Return the names of the manifests in a folder; a table of transcripts beside them does not count."""
    return sorted(file.stem for file in folder.glob("*.tsv") if not is_table(file))


def kinds_in(folder: Path) -> list[str]:
    """Return the label kinds that have a dictionary in a folder."""
    return sorted(file.name[len("dict.") : -len(".txt")] for file in folder.glob("dict.*.txt"))


def _inspect(
    folder: Path,
    split: str,
    kinds: Sequence[str],
    full: bool,
    symbols: Collection[str] | None,
    convolutions: Sequence[tuple[int, int]],
) -> SplitReport:
    if absent := _absent(folder, split):
        return SplitReport(split, 0, 0, [absent])
    manifest = read_manifest(folder / f"{split}.tsv")
    problems = [*manifest.problems, *shown(manifest.file, _audio_faults(manifest, full))]
    for kind in kinds:
        labels = read_labels(folder / f"{split}.{kind}")
        problems += [*labels.problems, *_count_problems(manifest, labels)]
        problems += _symbol_problems(labels, folder / f"dict.{kind}.txt", symbols)
        if kind == CLASS:
            problems += shown(labels.file, _several(labels))
        if full:
            problems += shown(manifest.file, _ctc_faults(manifest, labels, convolutions))
    words = folder / f"{split}.wrd"
    if full and "wrd" not in kinds and words.exists():
        labels = read_labels(words)
        problems += [*labels.problems, *_count_problems(manifest, labels)]
    pictures = folder / f"{split}.img"
    if full and pictures.exists():
        ids = read_labels(pictures)
        empty = [(line, "no id of a picture") for line, name in enumerate(ids.lines, start=1) if not name.strip()]
        problems += [*_count_problems(manifest, ids), *shown(pictures, empty)]
    frames = sum(entry.frames for entry in manifest.entries)
    return SplitReport(split, len(manifest.entries), frames, problems)


def _audio_faults(manifest: Manifest, full: bool) -> Iterator[tuple[int, str]]:
    if not manifest.root:
        return
    if not Path(manifest.root).is_dir():
        yield 1, f"root folder {absolute(manifest.root)} does not exist"
        return
    located = {
        entry: locate(manifest.root, entry.path)
        for entry in manifest.entries
        if not path_fault(manifest.root, entry.path)
    }
    missing = missing_files(location.file for location in located.values())
    yield from ((entry.line, f"no such file {at.file}") for entry, at in located.items() if at.file in missing)
    if full:
        there = {entry: location for entry, location in located.items() if location.file not in missing}
        yield from _header_faults(there, manifest.file.name)


def _header_faults(located: dict[Entry, Location], title: str) -> Iterator[tuple[int, str]]:
    for entry, header in zip(located, read_headers(list(located.values()), title), strict=True):
        if isinstance(header, AudioError):
            yield entry.line, str(header)
        elif header.fault:
            yield entry.line, f"{entry.path}: {header.fault}"
        elif header.frames != entry.frames:
            yield entry.line, f"{entry.path}: {entry.frames} frames here, {header.frames} in the audio"


def _count_problems(manifest: Manifest, labels: Labels) -> list[str]:
    utterances, lines = manifest.lines, len(labels.lines)
    if lines == utterances or not (lines and utterances):  # an unreadable file is a problem already
        return []
    allowed = f"line N belongs to line N + 1 of {manifest.file.name}"
    return shown(labels.file, [(min(utterances, lines) + 1, f"{lines} lines for {utterances} utterances; {allowed}")])


def _symbol_problems(labels: Labels, dictionary: Path, symbols: Collection[str] | None) -> list[str]:
    problems: list[str] = []
    if symbols is None:
        vocabulary = read_vocabulary(dictionary)
        symbols, problems = vocabulary.symbols, list(vocabulary.problems)
    allowed = frozenset(symbols) - frozenset(SPECIALS)
    found: dict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(labels.lines, start=1):
        if not allowed.issuperset(tokens := line.split()):
            for symbol in sorted(set(tokens) - allowed):
                found[symbol].append(number)
    if allowed:  # an unreadable dictionary is a problem already
        problems += shown(labels.file, ((lines[0], _unknown(symbol, lines)) for symbol, lines in found.items()))
    return problems


def _unknown(symbol: str, lines: Sequence[int]) -> str:
    return f"symbol {symbol!r} is not in the dictionary ({len(lines)} line(s): {listing(lines)})"


def _ctc_faults(
    manifest: Manifest, labels: Labels, convolutions: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, str]]:
    for entry in manifest.entries:
        if entry.line - 2 < len(labels.lines):
            fault = ctc_fault(entry.frames, labels.lines[entry.line - 2].split(), convolutions)
            if fault:
                yield entry.line, f"{entry.path}: {fault}"


def missing_files(files: Iterable[str]) -> set[str]:
    """Return those of ``files`` that are no files; each folder is listed once, which network disks need."""
    folders: dict[str, set[str]] = defaultdict(set)
    for file in files:
        folder, _, name = file.rpartition("/")
        folders[f"{folder}/"].add(name)
    return {f"{folder}{name}" for folder, names in folders.items() for name in _missing_names(folder, names)}


def _missing_names(folder: str, names: set[str]) -> set[str]:
    listed: set[str] = set()
    with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
        listed = {entry.name for entry in entries if entry.is_file()}
    # The listing only saves time: missing files are searched by name (Unicode forms, unlistable folders).
    return {name for name in names - listed if not Path(folder, name).is_file()}
