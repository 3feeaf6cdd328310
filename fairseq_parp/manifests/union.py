"""``fairseq-parp manifest union``: several data folders as one, with one dictionary, for a joint run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ManifestError, absolute
from fairseq_parp.manifests.building import Written, dictionary_for, write_folder
from fairseq_parp.manifests.checking import splits_in
from fairseq_parp.manifests.reading import read_labels, read_manifest, read_vocabulary
from fairseq_parp.manifests.writing import Utterance


class _Part(NamedTuple):
    """One split of one folder: its root, and its utterances relative to that."""

    root: str
    utterances: list[Utterance]


def write_union(
    folders: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    labels: str = "ltr",
    symbols: Mapping[str, int] | None = None,
) -> Written:
    """Write the union of data folders: each split has the utterances of all folders that have it, in their order.

    Equal symbols are one symbol. The dictionary has every symbol of every folder's own, most frequent first; those
    that occur nowhere come last.

    Args:
        folders: data folders with ``labels``.
        out: folder for the files; manifests of the same names are replaced.
        labels: ``ltr`` or ``phn``.
        symbols: the dictionary to keep, with counts; None makes one.

    Raises:
        ManifestError: a folder cannot be read, or an utterance is in two of them, or ``symbols`` lacks one of theirs;
            nothing was written.
    """
    problems: list[str] = []
    parts: dict[str, list[_Part]] = {split: [] for folder in folders for split in splits_in(Path(folder))}
    own: dict[str, int] = {}
    for folder in map(Path, folders):
        found = splits_in(folder)
        vocabulary = read_vocabulary(folder / f"dict.{labels}.txt")
        problems += vocabulary.problems if found else [f"{absolute(folder)}: no manifest (SPLIT.tsv) in this folder"]
        own |= dict.fromkeys(vocabulary.symbols, 0)
        for split in found:
            parts[split].append(_read(folder, split, labels, problems))
    root = os.path.commonpath([part.root for among in parts.values() for part in among] or ["/"])
    splits = {split: _joined(among, root) for split, among in parts.items()}
    problems += (fault for split, utterances in splits.items() for fault in _doubled(split, utterances))
    if problems:
        raise ManifestError(problems)
    counts = dictionary_for([utterance for utterances in splits.values() for utterance in utterances], symbols)
    unused = {} if symbols is not None else {name: 0 for name in own if name not in counts}
    written = Written(splits, counts | unused)
    write_folder(Path(out), root, labels, written)
    return written


def _read(folder: Path, split: str, labels: str, problems: list[str]) -> _Part:
    """Read one split, and add faults to ``problems``."""
    manifest, lines = read_manifest(folder / f"{split}.tsv"), read_labels(folder / f"{split}.{labels}")
    problems += [*manifest.problems, *lines.problems]
    beside = []
    for file in (folder / f"{split}.wrd", folder / f"{split}.img"):
        read = read_labels(file) if file.is_file() else None
        beside.append(read.lines if read else [""] * len(lines.lines))
        problems += read.problems if read else ()
    if len({len(each) for each in (manifest.entries, lines.lines, *beside)}) > 1:
        problems.append(f"{folder / split}.tsv: its utterances, labels, words and images differ in number")
        return _Part(manifest.root, [])
    rows = zip(manifest.entries, lines.lines, *beside, strict=True)
    return _Part(manifest.root, [Utterance(entry.path, entry.frames, *more) for entry, *more in rows])


def _joined(parts: Sequence[_Part], root: str) -> list[Utterance]:
    """Return all utterances, their paths relative to a folder above their roots.

    They have words, and ids of pictures, only where all have them.
    """
    every = [utterance for part in parts for utterance in part.utterances]
    spoken, pictured = all(each.words for each in every), all(each.image for each in every)
    joined = []
    for part in parts:
        way = os.path.relpath(part.root, root)
        for utterance in part.utterances:
            path, words = os.path.normpath(f"{way}/{utterance.path}"), utterance.words if spoken else ""
            joined.append(utterance._replace(path=path, words=words, image=utterance.image if pictured else ""))
    return joined


def _doubled(split: str, utterances: Sequence[Utterance]) -> Iterator[str]:
    seen: set[str] = set()
    for path in (utterance.path for utterance in utterances):
        if path in seen:
            yield f"{split}: {path} is in two of the folders"
        seen.add(path)
