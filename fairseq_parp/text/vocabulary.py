"""The facts of a text model beside its weights: the tokens, the labels and the tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_parp.checkpoints.contents import TEXT
from fairseq_parp.checkpoints.fitting import difference
from fairseq_parp.checkpoints.pickles import DICTIONARY_LIMIT
from fairseq_parp.errors import CheckpointError, DictionaryError, ManifestError, TokenizerError, absolute, first_line
from fairseq_parp.kinds import no_folder
from fairseq_parp.text.tokenizer import DICTIONARY, ENCODER, MERGES, Tokenizer

TOKENIZER, LABEL = "tokenizer", "label"
"""Folders beside the texts' ``input0`` and ``input1``."""

KEY = TEXT
"""Where a checkpoint's ``task_state`` keeps a vocabulary."""

BUILD = "fairseq-parp manifest text writes such a folder"

_KEYS = {"tokens", "labels", "texts"}
"""Entries of every checkpoint, besides the files of a tokenizer."""

_PADDING = "madeupword"
"""Symbols with which fairseq-preprocess pads a dictionary to a multiple of 8."""

_OWN = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""Symbols that fairseq puts into every dictionary of a task of text."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens, labels and tokenizer of a binarised folder or of a checkpoint.

    Attributes:
        tokens: fairseq's dictionary of the tokens, with ``<mask>`` as the last.
        labels: fairseq's dictionary of the labels, likewise; None for a folder of pretraining.
        tokenizer: the folder's tokenizer, or None.
        pairs: whether an example has two texts.
        where: the folder or file, for messages.
    """

    tokens: Any
    labels: Any
    tokenizer: Tokenizer | None
    pairs: bool
    where: str

    @classmethod
    def of_folder(cls, folder: Path) -> Vocabulary:
        """Read those of a folder of texts with labels.

        Raises:
            ManifestError: the folder or a dictionary is missing or cannot be read, or has one label only.
            TokenizerError: the tokenizer cannot be read, or is too large for a checkpoint.
        """
        if not folder.is_dir():
            raise ManifestError([f"{absolute(folder)}: {no_folder(folder)}; {BUILD}"])
        tokens, labels = (read_dictionary(folder / part / DICTIONARY, mask=True) for part in ("input0", LABEL))
        found = cls(tokens, labels, _tokenizer_beside(folder), (folder / "input1").is_dir(), absolute(folder))
        if len(found.names) < 2:
            raise ManifestError([f"{found.where}/{LABEL}/{DICTIONARY}: has {len(found.names)} label(s), must have two"])
        if (size := sum(len(text.encode()) for text in found.state().values())) > DICTIONARY_LIMIT:
            reason = f"takes {size:,} bytes in a checkpoint, of which {DICTIONARY_LIMIT:,} are read again"
            raise TokenizerError(found.where, reason)
        return found

    @classmethod
    def of_pretraining(cls, folder: Path) -> Vocabulary | None:
        """Read those of the folder that a ``masked_lm`` was trained on; None if the folder no longer exists."""
        if not (folder / DICTIONARY).is_file():
            return None
        tokens = read_dictionary(folder / DICTIONARY, mask=True)
        return cls(tokens, None, _tokenizer_beside(folder), False, absolute(folder))

    @classmethod
    def of_state(cls, state: Mapping[str, Any], path: str) -> Vocabulary | None:
        """Return the vocabulary that a checkpoint keeps; or None, as for a pretrained one.

        Args:
            state: the checkpoint.
            path: path of its file.

        Raises:
            CheckpointError: the vocabulary is damaged.
        """
        saved = (state.get("task_state") or {}).get(KEY)
        if saved is None:
            return None
        if (
            not isinstance(saved, Mapping)
            or not _KEYS <= set(saved) <= {*_KEYS, ENCODER, MERGES}
            or (ENCODER in saved) != (MERGES in saved)
            or not all(isinstance(text, str) for text in saved.values())
        ):
            raise CheckpointError(absolute(path), f"damaged: task_state.{KEY} is not a vocabulary")
        tokens, labels = (_dictionary_of(saved[key].split("\n"), path) for key in ("tokens", "labels"))
        tokenizer = Tokenizer(saved[ENCODER], saved[MERGES], absolute(path)) if ENCODER in saved else None
        return cls(tokens, labels, tokenizer, saved["texts"] == "2", absolute(path))

    def state(self) -> dict[str, str]:
        """Return the state for a checkpoint: texts alone, because classes in a file could run code."""
        symbols = {"tokens": "\n".join(self.tokens.symbols), "labels": "\n".join(self.labels.symbols)}
        return {**symbols, "texts": "2" if self.pairs else "1", **(self.tokenizer.state() if self.tokenizer else {})}

    @property
    def names(self) -> list[str]:
        """The names of the classes, in the order of the model's outputs."""
        return [symbol for symbol in self.labels.symbols if not is_own(symbol)]

    def require_same(self, saved: Vocabulary, path: str, labels: bool) -> None:
        """Compare this vocabulary, the data's, with that of a checkpoint to start from.

        Args:
            saved: the checkpoint's.
            path: path of the checkpoint.
            labels: whether the labels must be the same, as where a run is resumed.

        Raises:
            DictionaryError: tokens or labels differ in symbols or in their order.
            TokenizerError: the tokenizers differ, so that the same numbers mean other texts.
        """
        anew = f"binarise the table anew: fairseq-parp manifest text ... --tokenizer {_folder_of(saved)}"
        parts = {f"input0/{DICTIONARY}": (self.tokens, saved.tokens, anew)}
        if labels:
            parts[f"{LABEL}/{DICTIONARY}"] = (self.labels, saved.labels, "name the data of the run")
        for name, (own, other, way_out) in parts.items():
            if found := difference(own.symbols, other.symbols):
                raise DictionaryError(f"{self.where}/{name}", absolute(path), found, way_out)
        if self.tokenizer and saved.tokenizer and self.tokenizer.state() != saved.tokenizer.state():
            reason = (
                f"another tokenizer than {absolute(path)} was trained with: the same numbers mean other texts; {anew}"
            )
            raise TokenizerError(self.tokenizer.where, reason)


def is_own(symbol: str) -> bool:
    """Return whether fairseq adds a symbol to dictionaries itself, so that it cannot name a class."""
    return symbol in _OWN or symbol.startswith(_PADDING)


def read_dictionary(file: Path, mask: bool = False) -> Any:
    """Read one of fairseq's dictionaries.

    Args:
        file: path of the dictionary.
        mask: whether ``<mask>`` is appended, as in fairseq's tasks of text.

    Raises:
        ManifestError: the file is missing or is no dictionary.
    """
    from fairseq.data import Dictionary

    if not file.is_file():
        raise ManifestError([f"{absolute(file)}: no such file; {BUILD}"])
    try:
        found = Dictionary.load(str(file))
    except Exception as error:  # fairseq raises various exceptions
        raise ManifestError([f"{absolute(file)}: is not a dictionary of fairseq's ({first_line(error)})"]) from None
    if mask:
        found.add_symbol("<mask>")
    return found


def _tokenizer_beside(folder: Path) -> Tokenizer | None:
    beside = folder / TOKENIZER
    return Tokenizer.read(beside) if beside.is_dir() else None


def _folder_of(saved: Vocabulary) -> str:
    """Return the folder of a tokenizer for a command; a checkpoint's was named when its data were made."""
    where = Path(saved.tokenizer.where) if saved.tokenizer else None
    return str(where) if where is not None and where.is_dir() else "FOLDER"


def _dictionary_of(symbols: Iterable[str], path: str) -> Any:
    """Return a dictionary of symbols, fairseq's own the first of them.

    Raises:
        CheckpointError: a symbol occurs twice, or fairseq's own are not the first.
    """
    from fairseq.data import Dictionary

    found = Dictionary()
    every = list(symbols)
    for symbol in every[found.nspecial :]:
        found.add_symbol(symbol)
    if found.symbols != every:
        raise CheckpointError(absolute(path), f"damaged: task_state.{KEY} has a symbol twice, or lacks fairseq's own")
    return found
