"""Magnitude: the weight itself, as in PARP (Lai et al. 2021, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from fairseq_parp.sparsity.parameter import PrunedParameter

if TYPE_CHECKING:
    from fairseq_parp.sparsity.criteria import Moment


def scores(parameters: Mapping[str, PrunedParameter], _moment: Moment) -> dict[str, Tensor]:
    """Return the weights, or the masters where there are some: the tensors themselves, no copies."""
    return {name: parameter.ranked for name, parameter in parameters.items()}
