"""A selection with a known mask, which a structure without a threshold returns."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fairseq_parp.errors import WeightsError
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.packing import ones, pack
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.select import Selected


class Chosen:
    """See :class:`fairseq_parp.sparsity.structures.Selection`."""

    def __init__(self, parameters: Mapping[str, PrunedParameter], kept: Mapping[str, Tensor]) -> None:
        """Take booleans by parameter name, in the parameters' shapes: true where a weight is kept."""
        self._parameters = parameters
        self._bits = {name: pack(each.flatten()) for name, each in kept.items()}
        self._kept = {name: int(each.sum()) for name, each in kept.items()}
        self._dropped = {name: ~each for name, each in kept.items()}

    @property
    def displaces(self) -> bool:
        """Whether a dropped weight is not zero."""
        return any(
            bool(self._parameters[name].weight.detach()[dropped].any()) for name, dropped in self._dropped.items()
        )

    def mask(self) -> Selected:
        """Return the mask; nothing is zeroed."""
        return Selected(self._bits, self._kept, 0)

    def apply(self, before: Mapping[str, Tensor] | None) -> Selected:
        """Zero weights and masters that are dropped, and return the mask."""
        for tensors in (
            {name: each.weight.detach() for name, each in self._parameters.items()},
            {name: each.ranked for name, each in self._parameters.items() if each.master is not None},
        ):
            masking.apply_mask(tensors, {name: self._bits[name] for name in tensors})
        churn = 0 if before is None else sum(ones(bits ^ before[name]) for name, bits in self._bits.items())
        return Selected(self._bits, self._kept, churn)


def require_finite(scores: Mapping[str, Tensor], update: int | None) -> None:
    """Check scores before anything is chosen.

    Raises:
        WeightsError: a score is NaN or infinite.
    """
    for name, values in scores.items():
        if bad := int((~torch.isfinite(values)).sum()):
            raise WeightsError(name, bad, update)
