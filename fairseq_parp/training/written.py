"""Written captions as a dataset: a line of ``SPLIT.wrd`` each, as indices of words."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset

from fairseq_parp.errors import ManifestError, absolute
from fairseq_parp.grounded.words import PADDING, Words
from fairseq_parp.manifests.reading import read_lines
from fairseq_parp.training.captioned import EveryCaption
from fairseq_parp.training.identity import digest


class Written(FairseqDataset):
    """Captions (T,) of at most ``longest`` words.

    Args:
        file: ``SPLIT.wrd``.
        words: the known ones.
        longest: words after which a caption is cut.

    Raises:
        ManifestError: the file is not there, or a line has no word.
    """

    skipped_indices: frozenset[int] = frozenset()

    def __init__(self, file: Path, words: Words, longest: int) -> None:
        super().__init__()
        self.texts = read_texts(file)
        self.rows = [words.encode(text)[:longest] for text in self.texts]
        if empty := [number for number, row in enumerate(self.rows, 1) if not row]:
            raise ManifestError(
                [f"{file}:{number}: has no word; leave the caption out of all files" for number in empty]
            )
        self.sizes = np.array([len(row) for row in self.rows])
        self.lines = len(self.rows)

    def __len__(self) -> int:
        return self.lines

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": index, "source": torch.tensor(self.rows[index])}

    def num_tokens(self, index: int) -> int:
        """Return the number of words of a caption."""
        return int(self.sizes[index])

    def size(self, index: int) -> int:
        """Return the number of words of a caption."""
        return self.num_tokens(index)

    def ordered_indices(self) -> Any:
        """Return the captions by length, those of one length in random order, as fairseq does with audio."""
        return np.lexsort([np.random.permutation(len(self)), self.sizes])[::-1]

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return ``source`` (B, T) and ``padding_mask`` (B, T), true beyond a caption."""
        if not samples:
            return {}
        source = torch.nn.utils.rnn.pad_sequence([each["source"] for each in samples], True, PADDING)
        inputs = {"source": source, "padding_mask": source == PADDING}
        return {"id": torch.tensor([each["id"] for each in samples]), "net_input": inputs}


class EveryWritten(EveryCaption):
    """No caption is left out; messages name the line of the file."""

    item, unit = "caption", "words"

    def origin(self, index: int) -> str:
        """Return file and line of a caption."""
        return f"{self.manifest}:{index + 1}"

    def path(self, index: int) -> str:
        """Return the line of a caption: it has no audio."""
        return str(index + 1)

    @functools.cached_property
    def digest(self) -> str:
        """A digest of every text and its picture."""
        return digest(f"{text}\t{self.dataset.get_label(row)}" for row, text in enumerate(self._audio.texts))


def read_texts(file: Path) -> list[str]:
    """Return the lines of a ``SPLIT.wrd``.

    Raises:
        ManifestError: it is not there or cannot be used.
    """
    if not file.is_file():
        way_out = "does not exist: the folder has no written captions; model._name=grounded_wav2vec2 takes spoken ones"
        raise ManifestError([f"{absolute(file)}: {way_out}"])
    lines, problems = read_lines(file)
    if problems:
        raise ManifestError(problems)
    return lines
