"""Saliency: how much the loss would change without the weight, to first order: \\|w g\\| (Molchanov et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.parameter import PrunedParameter

if TYPE_CHECKING:
    from fairseq_parp.sparsity.criteria import Moment


def scores(parameters: Mapping[str, PrunedParameter], _moment: Moment) -> dict[str, Tensor]:
    """Return weight times gradient in fp32; zero where a parameter has no gradient.

    Raises:
        ConfigError: no parameter has a gradient.
    """
    if all(parameter.gradient is None for parameter in parameters.values()):
        allowed = "needs gradients: call the session's events before the gradients are cleared"
        raise ConfigError("task.pruning.criterion", "saliency", allowed)
    return {name: _product(parameter) for name, parameter in parameters.items()}


def _product(parameter: PrunedParameter) -> Tensor:
    if parameter.gradient is None:
        return torch.zeros_like(parameter.weight, dtype=torch.float32)
    return parameter.ranked.float() * parameter.gradient.float()
