"""The data of grounded training: audio cut from its start, with the features of its picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FileAudioDataset
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.grounded.features import Features
from fairseq_parp.training.utterances import EveryUtterance


class FromStart(FileAudioDataset):
    """Audio whose first ``most`` samples are kept: fairseq would crop at a random place, and captions would lose words.

    A batch is padded to its longest utterance.
    """

    sizes: Any

    def __init__(self, manifest: str, most: int | None, **options: Any) -> None:
        super().__init__(manifest, pad=True, **options)
        self.most = most
        self.lines = len(self.sizes) + len(self.skipped_indices)
        if most is not None:
            self.sizes = np.minimum(self.sizes, most)

    def postprocess(self, feats: Tensor, curr_sample_rate: int) -> Tensor:
        """Cut the audio, then normalise the rest."""
        kept: Tensor = super().postprocess(feats[: self.most], curr_sample_rate)
        return kept


class Captioned(BaseWrapperDataset):
    """Utterances with their pictures.

    Args:
        dataset: the audio.
        features: features of the pictures.
        rows: row of each utterance's picture.
    """

    def __init__(self, dataset: FromStart, features: Features, rows: NDArray[np.int64]) -> None:
        super().__init__(dataset)
        self.features, self.rows = features, rows

    def get_label(self, index: int) -> str:
        """Return the id of an utterance's picture and the shape of the features: a resume compares them."""
        features = self.features
        return f"{features.ids[self.rows[index]]} {features.encoder} {features.regions} {features.width}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[index])
        features, boxes = self.features[row]
        return {**self.dataset[index], "image": features, "boxes": boxes, "row": row}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Return fairseq's batch with ``images`` (B, R, C) and ``boxes`` (B, R, 4), and ``image_ids`` (B,) beside."""
        batch: dict[str, Any] = self.dataset.collater(samples)
        if batch:
            batch["net_input"]["images"] = torch.stack([each["image"] for each in samples])
            if self.features.has_boxes:
                batch["net_input"]["boxes"] = torch.stack([each["boxes"] for each in samples])
            batch["image_ids"] = torch.tensor([each["row"] for each in samples])
        return batch


class EveryCaption(EveryUtterance):
    """No utterance is left out, and no batch has one alone where the one before can spare one."""

    def batch_by_size(self, *args: Any, **options: Any) -> list[Any]:
        """Return the batches of :class:`EveryUtterance`; a last batch of one gets an utterance of the one before."""
        batches = super().batch_by_size(*args, **options)
        if len(batches) > 1 and len(batches[-1]) == 1 and len(batches[-2]) > 2:
            batches[-2], batches[-1] = batches[-2][:-1], np.concatenate([batches[-2][-1:], batches[-1]])
        return batches
