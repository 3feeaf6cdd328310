"""The masked margin softmax loss between the two embeddings of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Matching(NamedTuple):
    """The loss of a batch.

    Attributes:
        loss: scalar; the sum of both directions' means.
        negatives: mean number of negatives an item has; 0 where every item shows the same image.
    """

    loss: Tensor
    negatives: float


def masked_margin_softmax(scores: Tensor, images: Tensor, margin: float = 1.0) -> Matching:
    """Return the loss by which the caption of a picture is found among a batch, and the picture of a caption.

    Args:
        scores: (B, B); ``scores[i, j]`` is the similarity of item i's picture and item j's caption.
        images: (B,) id of each item's picture; two items of one picture are no negatives of each other.
        margin: taken off the diagonal's scores.
    """
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    same = images[:, None] == images[None]
    masked = (scores.float() if scores.dtype in (torch.half, torch.bfloat16) else scores) - margin * own
    masked = masked.masked_fill(same & ~own, float("-inf"))
    truth = torch.arange(len(scores), device=scores.device)
    loss = functional.cross_entropy(masked, truth) + functional.cross_entropy(masked.t(), truth)
    return Matching(loss, float((~same).sum()) / max(len(scores), 1))
