"""Masks of one sparsity, chosen without training: by magnitude, or at random."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from fairseq_parp.sparsity.allocation import build_allocation, require_whole
from fairseq_parp.sparsity.counting import exact
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.select import Ranking


@torch.no_grad()
def magnitude_mask(
    scores: Mapping[str, Tensor], sparsity: float | Fraction, allocation: str = "global", update: int | None = None
) -> MaskSet:
    """Return the mask that drops the smallest magnitudes: of pretrained weights this is MPI (paper, section 2).

    Exactly k are dropped in every share, k = :func:`~fairseq_parp.sparsity.counting.zero_count`. Of equal magnitudes
    the first are dropped: in the order of ``scores``, then by position.

    Args:
        scores: score tensors of any shapes, by parameter name.
        sparsity: fraction to drop, in [0, 1].
        allocation: division of the zeros, such as ``global`` (see :mod:`fairseq_parp.sparsity.allocation`).
        update: named in the error message.

    Raises:
        WeightsError: a score is NaN or infinite.
    """
    bits: dict[str, Tensor] = {}
    shapes = {name: tuple(values.shape) for name, values in scores.items()}
    shares = build_allocation(allocation, exact(sparsity))(shapes, exact(sparsity))
    require_whole(shares, shapes, allocation)
    for share in shares:
        ranking = Ranking(share.of(scores))
        bits.update(ranking.apply_threshold(ranking.threshold(share.zeros, update)).bits)
    return MaskSet({name: bits[name] for name in shapes}, shapes)


def random_mask(
    shapes: Mapping[str, tuple[int, ...]], sparsity: float | Fraction, seed: int, allocation: str = "global"
) -> MaskSet:
    """Return a mask that drops exactly k weights of every share, each k of them equally likely.

    Args:
        shapes: the parameters' shapes by name.
        sparsity, allocation: as for :func:`magnitude_mask`.
        seed: the same seed gives the same mask.
    """
    chance = torch.Generator().manual_seed(seed)
    scores = {name: torch.rand(shape, generator=chance) for name, shape in shapes.items()}
    return magnitude_mask(scores, sparsity, allocation)
