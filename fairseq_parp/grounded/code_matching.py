"""Cross-modal code matching: the two sides of a pair use the codes of a shared codebook with similar frequency."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_EPS = 1e-10
"""Added to probabilities inside logarithms."""


def usage(distances: Tensor, real: Tensor, temperature: float = 1.0) -> Tensor:
    """Return how much the features of each item use each code: (B, V), rows sum to 1.

    Args:
        distances: (B, T, V) of features to codes.
        real: (B, T) false where a feature is padding.
        temperature: divides the distances before the softmax over the codes.
    """
    soft = (-distances / temperature).softmax(-1) * real[..., None]
    return soft.sum(1) / real.sum(1)[:, None]


def code_scores(one: Tensor, other: Tensor) -> Tensor:
    """Return (N, M) minus the symmetric cross-entropy of usages (N, V) and (M, V)."""
    return queries(one) @ keys(other).t()


def queries(usages: Tensor) -> Tensor:
    """Return vectors (N, 2V) whose inner products with :func:`keys` are :func:`code_scores`."""
    return torch.cat([usages, (usages + _EPS).log()], 1)


def keys(usages: Tensor) -> Tensor:
    """Return vectors (M, 2V); see :func:`queries`."""
    return torch.cat([(usages + _EPS).log(), usages], 1)


def code_matching(one: Tensor, other: Tensor, images: Tensor, both_ways: bool = False) -> Tensor:
    """Return the loss by which an item's other side is found among a batch by code usage alone; a mean over the items.

    Args:
        one: (B, V) usages of one modality.
        other: (B, V) usages of the other.
        images: (B,) id of each item's picture; two items of one picture are no negatives of each other.
        both_ways: add the loss by which ``one`` is found for ``other``.
    """
    same = images[:, None] == images[None]
    own = torch.eye(len(images), dtype=torch.bool, device=images.device)
    scores = code_scores(one, other).masked_fill(same & ~own, float("-inf"))
    truth = torch.arange(len(images), device=images.device)
    loss = functional.cross_entropy(scores, truth)
    return loss + functional.cross_entropy(scores.t(), truth) if both_ways else loss
