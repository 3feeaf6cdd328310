"""The embeddings of a whole validation set, collected over its batches and ranks, and recall among them."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from fairseq_parp.grounded.recall import ranks, recalls


class Gallery:
    """Embeddings by utterance and by picture, on the CPU."""

    def __init__(self) -> None:
        self._captions: dict[int, tuple[int, Tensor]] = {}
        self._images: dict[int, Tensor] = {}
        self._found: dict[str, float] = {}

    def add(self, utterances: Tensor, pictures: Tensor, audio: Tensor, image: Tensor) -> None:
        """Add a batch of every rank. An utterance that comes twice counts once.

        Args:
            utterances: (B,) index of each.
            pictures: (B,) id of each one's picture.
            audio, image: (B, width) embeddings.
        """
        batch = tuple(each.detach().cpu() for each in (utterances, pictures, audio.float(), image.float()))
        every = [batch]
        if distributed.is_initialized():
            every = [batch] * distributed.get_world_size()
            distributed.all_gather_object(every, batch)
        for rows in every:
            for utterance, picture, caption, shown in zip(*rows, strict=True):
                self._captions[int(utterance)] = int(picture), caption
                self._images[int(picture)] = shown
        self._found = {}

    def recall(self, metric: str) -> float:
        """Return a value of :func:`~fairseq_parp.grounded.recall.recalls`, in percent."""
        if not self._found:
            place = {picture: row for row, picture in enumerate(self._images)}
            captions = torch.stack([caption for _, caption in self._captions.values()])
            owners = torch.tensor([place[picture] for picture, _ in self._captions.values()])
            self._found = recalls(ranks(captions, torch.stack(list(self._images.values())), owners))
        return self._found[metric]
