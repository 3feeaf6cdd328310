"""How two modalities use the codes of one codebook: counts, perplexity, sharing, divergence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SHARE = 0.2
"""A code is shared when each modality makes at least this part of its uses."""


class CodeUse(NamedTuple):
    """Hard uses of the codes, a use being a fine feature next to the code.

    Attributes:
        audio, image: codes that each modality uses.
        used: codes that any modality uses.
        shared: codes of which each modality makes at least 20 % of the uses, each weighted as a share of its modality.
        shared_uses: percentage of all uses that are of shared codes, the modalities weighted equally.
        audio_perplexity, image_perplexity: exp of the entropy of each modality's uses.
        divergence: Jensen-Shannon divergence of both modalities' uses in bits: 0 where alike, 1 where apart.
    """

    audio: int
    image: int
    used: int
    shared: int
    shared_uses: float
    audio_perplexity: float
    image_perplexity: float
    divergence: float


def code_use(audio: Tensor, image: Tensor) -> CodeUse:
    """Return how both modalities use the codes.

    As pictures may have many more regions than utterances have frames, uses are compared as shares of a modality.

    Args:
        audio: (V,) uses of each code by speech; at least one use.
        image: (V,) uses by pictures; at least one use.

    >>> found = code_use(torch.tensor([3, 1, 0]), torch.tensor([0, 10, 30]))
    >>> found.used, found.shared, round(found.shared_uses, 1)
    (3, 1, 25.0)
    """
    one, other = (uses.double() / uses.sum() for uses in (audio, image))
    mean = (one + other) / 2
    shared = (torch.minimum(one, other) >= SHARE * (one + other)) & (mean > 0)
    return CodeUse(
        int((audio > 0).sum()),
        int((image > 0).sum()),
        int((mean > 0).sum()),
        int(shared.sum()),
        100 * float(mean[shared].sum()),
        float(_entropy(one).exp()),
        float(_entropy(other).exp()),
        float((_entropy(mean) - (_entropy(one) + _entropy(other)) / 2) / torch.tensor(2.0).log()),
    )


def _entropy(shares: Tensor) -> Tensor:
    return -torch.xlogy(shares, shares).sum()
