"""Saliency: the change of the loss without the weight, to first order: \\|w g\\| (Molchanov et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.parameter import PrunedParameter

if TYPE_CHECKING:
    from fairseq_parp.sparsity.criteria import Moment


def scores(parameters: Mapping[str, PrunedParameter], _moment: Moment) -> dict[str, Tensor]:
    """Return weight times gradient in fp32.

    Raises:
        ConfigError: a parameter has no gradient. Its weights would all score zero, and be pruned first.
    """
    products = {}
    for name, parameter in parameters.items():
        if parameter.gradient is None:
            allowed = (
                f"needs gradients, and {name} has none in this update: its layer was left out (layerdrop), it is "
                "frozen, or the gradients were cleared before the session's events"
            )
            raise ConfigError("task.pruning.criterion", "saliency", allowed)
        products[name] = parameter.ranked.float() * parameter.gradient.float()
    return products
