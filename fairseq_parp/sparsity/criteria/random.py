"""Random: every weight is equally likely to be zeroed. It is the control for every other criterion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_parp.sparsity.parameter import PrunedParameter

if TYPE_CHECKING:
    from fairseq_parp.sparsity.criteria import Moment


def scores(parameters: Mapping[str, PrunedParameter], moment: Moment) -> dict[str, Tensor]:
    """Draw scores that depend on the seed and the update alone, the same on every rank and device."""
    # The generator takes 32 bits of a seed: the golden ratio of them keeps seeds and updates apart.
    chance = torch.Generator().manual_seed((moment.seed + 2_654_435_761 * moment.update) % (1 << 32))
    return {
        name: torch.rand(parameter.weight.shape, generator=chance).to(parameter.weight.device)
        for name, parameter in parameters.items()
    }
