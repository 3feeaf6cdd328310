"""Binarised folders of text: with labels for ``sentence_prediction``, without for ``masked_lm``.

fairseq's own ``Dictionary`` and builders write them, so its tasks read them like the output of ``fairseq-preprocess``.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_parp.errors import ConfigError, ManifestError, TokenizerError, absolute, listing
from fairseq_parp.text.table import Table
from fairseq_parp.text.tokenizer import BYTES, DICTIONARY, Tokenizer, counted, train
from fairseq_parp.text.vocabulary import LABEL, TOKENIZER, read_dictionary


@dataclass(frozen=True)
class Written:
    """The written folder.

    Attributes:
        splits: examples by split.
        labels: counts of the training labels, the most frequent first; empty for a table without labels.
        tokens: number of tokens in the dictionary.
        longest: tokens of the longest example of each split, fairseq's marks of beginnings and ends included.
    """

    splits: Mapping[str, int]
    labels: Mapping[str, int]
    tokens: int
    longest: Mapping[str, int]


def write_folder(tables: Mapping[str, Table], out: Path, tokenizer: Path | None, size: int) -> Written:
    """Write a folder; it appears whole or not at all.

    Args:
        tables: tables by split, ``train`` included. A split other than ``train`` and ``valid`` may lack labels.
        out: folder, not there yet.
        tokenizer: folder of the tokenizer to use; None trains one on the training texts.
        size: most tokens of a tokenizer that is trained.

    Raises:
        ConfigError: ``out`` is there, or ``size`` is below the number of bytes.
        ManifestError: the tables differ in texts, or a label cannot be used.
        TokenizerError: the tokenizer cannot be used.
    """
    from fairseq.data import Dictionary

    if out.exists():
        raise ConfigError("--out", absolute(out), "exists already; remove it, or choose another folder")
    labels = _require_alike(tables)
    texts = [text for example in tables["train"].examples for text in example.texts]
    if tokenizer is None and size < BYTES:
        raise ConfigError("--vocabulary", size, f"must be at least {BYTES}: one token for each byte")
    bpe = train(texts, size) if tokenizer is None else Tokenizer.read(tokenizer)
    encoded = {split: [[bpe.encode(text) for text in each.texts] for each in table.examples]
               for split, table in tables.items()}  # fmt: skip
    if tokenizer is None:
        dictionary = Dictionary()
        for symbol, count in counted(bpe, (line for lines in encoded["train"] for line in lines)).items():
            dictionary.add_symbol(symbol, count)
    else:
        dictionary = _dictionary_of(bpe, tokenizer)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    try:
        bpe.write(partial / TOKENIZER)
        dictionary.save(str(partial / TOKENIZER / DICTIONARY))
        for number in range(tables["train"].texts):
            place = partial / f"input{number}" if labels else partial
            _binarise({split: [line[number] for line in lines] for split, lines in encoded.items()}, dictionary, place)
        if labels:
            named = {split: [example.label for example in table.examples]
                     for split, table in tables.items() if table.labelled}  # fmt: skip
            _binarise(named, _dictionary(labels), partial / LABEL)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    longest = {split: max(sum(len(line.split()) + 1 for line in each) + len(each) for each in lines)
               for split, lines in encoded.items()}  # fmt: skip
    return Written({split: len(table.examples) for split, table in tables.items()}, labels, len(dictionary), longest)


def _require_alike(tables: Mapping[str, Table]) -> dict[str, int]:
    """Compare tables with each other; return the counts of the training labels.

    Raises:
        ManifestError: they differ in texts or have no labels where they need them; there is one label only; or a
            label is not among the training labels.
    """
    train = tables["train"]
    for split, table in tables.items():
        where = f"{absolute(table.file)}:1"
        if table.texts != train.texts:
            raise ManifestError(
                [f"{where}: {table.texts} text(s) an example, {absolute(train.file)} has {train.texts}"]
            )
        if table.labelled != train.labelled and (table.labelled or split == "valid"):
            which = ("no labels", "labels") if train.labelled else ("labels", "none")
            way_out = f"{absolute(train.file)} has {which[1]}; --label names their column"
            raise ManifestError([f"{where}: has {which[0]}, but {way_out}"])
    if not train.labelled:
        if train.texts > 1:
            raise ManifestError(
                [f"{absolute(train.file)}:1: two texts without a label; masked_lm reads one text a row"]
            )
        return {}
    counts: dict[str, int] = {}
    for example in train.examples:
        counts[example.label] = counts.get(example.label, 0) + 1
    if len(counts) < 2:
        raise ManifestError([f"{absolute(train.file)}: every label is {next(iter(counts))!r}; two classes are needed"])
    known = listing(map(repr, counts), most=12)
    unknown = [
        f"{absolute(table.file)}:{example.line}: the label {example.label!r} is not in the training table: {known}"
        for table in tables.values() if table.labelled for example in table.examples if example.label not in counts
    ]  # fmt: skip
    if unknown:
        raise ManifestError(unknown)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _dictionary_of(tokenizer: Tokenizer, folder: Path) -> Any:
    """Read the dictionary beside a tokenizer and compare the two.

    Raises:
        TokenizerError: the dictionary is missing, cannot be read, or lacks an id of the tokenizer.
    """
    dictionary = read_dictionary(folder / DICTIONARY)
    if missing := [number for number in tokenizer.ids.values() if str(number) not in dictionary]:
        reason = f"lacks {len(missing)} ids of the tokenizer, such as {missing[0]}: the files are of two tokenizers"
        raise TokenizerError(absolute(folder / DICTIONARY), reason)
    return dictionary


def _dictionary(counts: Mapping[str, int]) -> Any:
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for symbol, count in counts.items():
        dictionary.add_symbol(symbol, count)
    return dictionary


def _binarise(splits: Mapping[str, Sequence[str]], dictionary: Any, folder: Path) -> None:
    """Write lines as fairseq-preprocess does: each split's tokens with an end mark, and the dictionary."""
    from fairseq.data import indexed_dataset

    folder.mkdir(parents=True, exist_ok=True)
    dictionary.save(str(folder / DICTIONARY))
    for split, lines in splits.items():
        builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), "mmap", vocab_size=len(dictionary))
        for line in lines:
            builder.add_item(dictionary.encode_line(line, add_if_not_exist=False))
        builder.finalize(str(folder / f"{split}.idx"))
