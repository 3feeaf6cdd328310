"""The byte-level BPE of GPT-2, which RoBERTa reads: its two files, training one on the spot, and encoding text.

``encoder.json`` maps tokens to ids, ``vocab.bpe`` lists the merges, best first. A tokenizer that is trained here has
the same two files, so that fairseq's own encoder reads both, and stock fairseq encodes as this plugin does.
"""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_parp.errors import MissingToolError, TokenizerError, absolute, first_line
from fairseq_parp.kinds import unreadable

ENCODER, MERGES, DICTIONARY = "encoder.json", "vocab.bpe", "dict.txt"
"""Files of a tokenizer's folder; the dictionary is fairseq's, of the ids in ``encoder.json`` as text."""

BYTES = 256
"""Tokens that any tokenizer needs: one for each byte, so that it can encode any text."""

_MARK = re.compile(r"<.*>|\[.*\]|madeupword\d+")
"""Tokens without text, as other libraries and fairseq-preprocess add them."""


@dataclass(frozen=True)
class Tokenizer:
    """A byte-level BPE.

    Attributes:
        encoder: content of ``encoder.json``.
        merges: content of ``vocab.bpe``.
        where: name of the tokenizer in messages.
    """

    encoder: str
    merges: str
    where: str

    @classmethod
    def read(cls, folder: Path) -> Tokenizer:
        """Read the two files of a folder.

        Raises:
            TokenizerError: a file is missing or has a fault.
        """
        found = cls(_text(folder / ENCODER), _text(folder / MERGES), absolute(folder))
        found.encode("text")
        return found

    def state(self) -> dict[str, str]:
        """Return the state for a checkpoint: the content of both files."""
        return {ENCODER: self.encoder, MERGES: self.merges}

    def write(self, folder: Path) -> None:
        """Write the two files."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.state().items():
            (folder / name).write_text(text, encoding="utf-8")

    @functools.cached_property
    def ids(self) -> Mapping[str, int]:
        """The tokens with their ids.

        Raises:
            TokenizerError: ``encoder.json`` is no such mapping, has an id twice, or lacks bytes.
        """
        try:
            found = json.loads(self.encoder)
        except (ValueError, RecursionError) as error:
            raise TokenizerError(self.where, f"{ENCODER} cannot be read ({first_line(error)})") from None
        if not isinstance(found, dict) or not all(type(number) is int for number in found.values()):
            raise TokenizerError(self.where, f"{ENCODER} is not a mapping of tokens to ids")
        from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

        if len(set(found.values())) < len(found):
            raise TokenizerError(self.where, f"{ENCODER} gives two tokens the same id")
        if missing := [byte for byte, letter in bytes_to_unicode().items() if letter not in found]:
            lacks = f"{ENCODER} lacks {len(missing)} of the {BYTES} bytes, so that it cannot encode every text"
            raise TokenizerError(self.where, lacks)
        return found

    @functools.cached_property
    def _bpe(self) -> Any:
        """fairseq's encoder.

        Raises:
            TokenizerError: a file has a fault.
        """
        from fairseq.data.encoders.gpt2_bpe_utils import Encoder

        first, *lines = self.merges.rstrip("\n").split("\n")
        if not first.startswith("#"):
            raise TokenizerError(self.where, f"{MERGES} has no line #version at its head, which fairseq passes over")
        merges = [tuple(line.split(" ")) for line in lines]
        for number, merge in enumerate(merges, start=2):
            if len(merge) != 2 or "".join(merge) not in self.ids:
                wanted = f"must be two tokens whose union is in {ENCODER}"
                raise TokenizerError(self.where, f"{MERGES} line {number}: {' '.join(merge)!r} {wanted}")
        if unmade := _unmade(self.ids, {"".join(merge) for merge in merges}):
            lacks = f"{MERGES} has no merge for {len(unmade)} tokens of {ENCODER}, such as {unmade[0]!r}"
            raise TokenizerError(self.where, f"{lacks}: it is incomplete, or the files are of two tokenizers")
        return Encoder(encoder=self.ids, bpe_merges=merges)

    def encode(self, text: str) -> str:
        """Return the ids of a text's tokens, separated by spaces, as a line that fairseq binarises."""
        return " ".join(map(str, self._bpe.encode(text)))


def _unmade(ids: Mapping[str, int], made: Collection[str]) -> list[str]:
    """Return the tokens that neither a byte nor a merge makes, without marks such as ``<|endoftext|>``."""
    return [
        token
        for token in ids
        if len(token) > 1 and token not in made and not re.fullmatch(r"<.*>|\[.*\]|madeupword\d+", token)
    ]


def train(texts: Sequence[str], size: int) -> Tokenizer:
    """Train a byte-level BPE on texts; the same texts give the same tokenizer.

    Args:
        texts: the texts to train on.
        size: most tokens, the 256 bytes included; fewer where no pair is left that occurs twice.

    Raises:
        MissingToolError: the library is not installed.
    """
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError:
        reason = "training a tokenizer needs the library tokenizers (pip install tokenizers); --tokenizer takes one"
        raise MissingToolError(reason) from None
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=size, min_frequency=2, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        encoder, merges = (Path(file) for file in tokenizer.save_model(folder))
        return Tokenizer(_text(encoder), _text(merges), "the tokenizer")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        needs = f"a tokenizer's folder has GPT-2's {ENCODER} and {MERGES}, and {DICTIONARY}"
        raise TokenizerError(absolute(file), f"{unreadable(file, error)}; {needs}") from None


def counted(tokenizer: Tokenizer, encoded: Iterable[str]) -> dict[str, int]:
    """Return every id of a tokenizer as a symbol of a dictionary, in the order of the ids, with its count in texts."""
    counts = dict.fromkeys(map(str, sorted(tokenizer.ids.values())), 0)
    for line in encoded:
        for symbol in line.split():
            counts[symbol] += 1
    return counts
