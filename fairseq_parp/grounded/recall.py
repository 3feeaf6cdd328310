"""Recall at k between captions and pictures, over a whole gallery, in blocks of bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1024
"""Captions whose scores are held at a time."""

AT = (1, 5, 10)


METRICS = tuple(f"{way}{k}" for way in ("s2i_r", "i2s_r", "recall_") for k in AT)
"""Keys of :func:`recalls`."""


class Ranks(NamedTuple):
    """1-based ranks of the targets.

    Attributes:
        of_images: (captions,) rank of each caption's picture among all pictures.
        of_captions: (images,) best rank of a picture's captions among all captions.
    """

    of_images: Tensor
    of_captions: Tensor


def ranks(captions: Tensor, images: Tensor, owners: Tensor) -> Ranks:
    """Rank every picture for every caption, and every caption for every picture.

    Ties count against the model: an item that scores as high as the right one stands before it, so that a model
    whose embeddings are all equal finds nothing. Scores that float rounding cannot distinguish are ties, and so
    is NaN.

    Args:
        captions: (N, D) embeddings.
        images: (M, D) embeddings; each picture once.
        owners: (N,) index of each caption's picture. Every picture has a caption.
    """
    slack = _rounding(captions, images)
    own = torch.cat(
        [_scores(block, images).gather(1, owner[:, None])[:, 0] for block, owner in _blocks(captions, owners)]
    )
    best = own.new_full((len(images),), float("-inf")).scatter_reduce(0, owners, own, "amax") - slack
    of_images, before = [], torch.zeros(len(images), dtype=torch.long, device=images.device)
    start = 0
    for block, owner in _blocks(captions, owners):
        scores = _scores(block, images)
        at_least = ~(scores < own[start : start + len(block), None] - slack)
        of_images.append(at_least.sum(1))
        others = ~(scores < best).scatter(1, owner[:, None], True)
        before += others.sum(0)
        start += len(block)
    return Ranks(torch.cat(of_images), before + 1)


def first(queries: Tensor, gallery: Tensor, k: int) -> Tensor:
    """Return the rows of ``gallery`` (M, D) that score highest for each of ``queries`` (N, D), the best first.

    Returns:
        (N, k); fewer columns where the gallery has fewer rows.
    """
    k = min(k, len(gallery))
    return torch.cat([_scores(block, gallery).topk(k, 1).indices for block in queries.split(BLOCK)])


def recall(found: Tensor, k: int) -> float:
    """Return the percentage of ranks that are at most ``k``; NaN without ranks.

    >>> recall(torch.tensor([1, 3, 20, 2]), 2)
    50.0
    """
    return 100 * float((found <= k).double().mean())


def recalls(found: Ranks) -> dict[str, float]:
    """Return recall in percent, ``s2i_r1`` (speech to image) to ``i2s_r10``; ``recall_10`` is the mean of both ways."""
    each = {f"s2i_r{k}": recall(found.of_images, k) for k in AT} | {
        f"i2s_r{k}": recall(found.of_captions, k) for k in AT
    }
    return each | {f"recall_{k}": (each[f"s2i_r{k}"] + each[f"i2s_r{k}"]) / 2 for k in AT}


def _blocks(captions: Tensor, owners: Tensor) -> zip[tuple[Tensor, Tensor]]:
    return zip(captions.split(BLOCK), owners.split(BLOCK), strict=True)


def _scores(captions: Tensor, images: Tensor) -> Tensor:
    return captions @ images.t()


def _rounding(captions: Tensor, images: Tensor) -> float:
    """Return a bound of the rounding error of a score: the same sum in another order differs by less."""
    longest = captions.norm(dim=1).nan_to_num().max() * images.norm(dim=1).nan_to_num().max()
    return float(4 * torch.finfo(captions.dtype).eps * longest)
