"""Checks the splits of a binarised folder before fairseq reads them, because fairseq ignores most faults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq_parp.errors import ConfigError, ManifestError, absolute, first_line, listing
from fairseq_parp.text.tokenizer import DICTIONARY
from fairseq_parp.text.vocabulary import LABEL, Vocabulary

PARTS = ("input0", "input1", LABEL)
"""Folders of a data folder that have a file a split; ``input1`` where an example has two texts."""


def require_split(folder: Path, split: str, known: Vocabulary, training: bool) -> None:
    """Check that a split's files are there and fit together, and that its labels can be learnt.

    Args:
        folder: the data folder.
        split: name of the split.
        known: the folder's tokens and labels.
        training: whether a model trains on it: two classes are needed then.

    Raises:
        ManifestError: files are missing or have different numbers of examples; an example has no text, a token that the
            dictionary lacks, no label or one that the dictionary lacks; or all have the same label.
    """
    parts = {
        part: _load(folder / part, split, known.labels if part == LABEL else known.tokens)
        for part in PARTS
        if part != "input1" or (folder / part).is_dir()
    }
    if len({len(part) for part in parts.values()}) > 1:
        counts = listing(f"{len(part)} in {name}" for name, part in parts.items())
        raise ManifestError([f"{absolute(folder)}: the split {split} has different numbers of examples: {counts}"])
    problems = [*_texts(folder, split, parts, known), *_labels(folder, split, parts[LABEL], known)]
    if problems:
        raise ManifestError(problems)
    if training and len({int(parts[LABEL][index][0]) for index in range(len(parts[LABEL]))}) < 2:
        name = known.labels[int(parts[LABEL][0][0])]
        raise ManifestError([f"{absolute(folder / LABEL / split)}: every label is {name!r}; two classes are needed"])


def _load(folder: Path, split: str, dictionary: Any) -> Any:
    from fairseq.data import data_utils

    try:
        found = data_utils.load_indexed_dataset(str(folder / split), dictionary)
    except Exception as error:  # a damaged index
        raise ManifestError([f"{absolute(folder / split)}.idx: cannot be read ({first_line(error)})"]) from None
    if found is None:
        there = sorted({file.stem for file in folder.glob("*.idx")})
        raise ManifestError(
            [f"{absolute(folder / split)}.idx: no such file; the folder's splits: {listing(there) or 'none'}"]
        )
    if not len(found):
        raise ManifestError([f"{absolute(folder / split)}.idx: has no examples"])
    return found


def _texts(folder: Path, split: str, parts: Mapping[str, Any], known: Vocabulary) -> Iterator[str]:
    for part in (name for name in parts if name != LABEL):
        for index in range(len(parts[part])):
            tokens = parts[part][index]
            where = f"{absolute(folder / part / split)}: example {index + 1}"
            if len(tokens) < 2:
                yield f"{where} is an empty text"
            elif int(tokens.max()) >= len(known.tokens):
                yield f"{where} has token {int(tokens.max())}, {part}/{DICTIONARY} has {len(known.tokens)}"


def _labels(folder: Path, split: str, labels: Any, known: Vocabulary) -> Iterator[str]:
    first, names = known.labels.nspecial, known.names
    for index in range(len(labels)):
        label = labels[index].tolist()
        if len(label) != 2 or not first <= label[0] < first + len(names):
            where = f"{absolute(folder / LABEL / split)}: example {index + 1}"
            yield f"{where} has a label that {LABEL}/{DICTIONARY} lacks; it has {listing(map(repr, names), most=12)}"


def require_room(sizes: Sequence[int], most: int, where: str) -> None:
    """Check that no example is longer than the model's positions: fairseq would leave it out of the training.

    Args:
        sizes: tokens of each example.
        most: ``task.max_positions``.
        where: the split, for the message.

    Raises:
        ConfigError: one is longer.
    """
    longer = [index for index, size in enumerate(sizes) if size > most]
    if longer:
        longest = max(longer, key=lambda index: sizes[index])
        allowed = (
            f"{len(longer)} of {len(sizes)} examples in {where} are longer, up to {sizes[longest]} tokens (example "
            f"{longest + 1}); task.shorten_method=truncate shortens them"
        )
        raise ConfigError("task.max_positions", most, allowed)


def content_of(folder: Path, split: str) -> str:
    """Return the SHA-256 of a split's binarised texts and labels, as 64 hex digits."""
    digest = hashlib.sha256()
    files = (folder / part / f"{split}.{ending}" for part in PARTS for ending in ("idx", "bin"))
    for file in (file for file in files if file.is_file()):
        digest.update(f"{file.parent.name}/{file.name}\n".encode())
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
