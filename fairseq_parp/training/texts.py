"""Every text counts: batches leave none out, and messages name an example by its number."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from fairseq_parp.errors import absolute
from fairseq_parp.text.folder import content_of
from fairseq_parp.training.utterances import EveryUtterance


class EveryText(EveryUtterance):
    """A split of a binarised folder whose batches hold every index they are made from.

    Args:
        dataset: fairseq's, of ``sentence_prediction``.
        folder: the data folder.
        split: name of the split.
    """

    item, unit = "example", "tokens"

    def __init__(self, dataset: Any, folder: Path, split: str) -> None:
        super().__init__(dataset, f"{absolute(folder)}: {split}")
        self._folder, self._split = folder, split

    def origin(self, index: int) -> str:
        """Return where an example stands: the folder, the split, and its number from 1 on."""
        return f"{self.manifest}, example {index + 1}"

    @functools.cached_property
    def digest(self) -> str:
        """A digest of every text and label."""
        return content_of(self._folder, self._split)

    def __getitem__(self, index: int) -> Any:
        """Return an example: binarised text was checked when the split was loaded."""
        return self.dataset[index]

    def collater(self, samples: list[Any]) -> Any:
        """Collate a batch."""
        return self.dataset.collater(samples)
