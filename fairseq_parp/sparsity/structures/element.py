"""Single weights: exactly the k of lowest score, ties by position."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.select import Ranking, Selected


def select(
    parameters: Mapping[str, PrunedParameter],
    scores: Mapping[str, Tensor],
    k: int,
    update: int | None,
    include_zeros: bool,
) -> ElementSelection:
    """Find the threshold below which exactly ``k`` scores lie.

    Raises:
        WeightsError: a score is NaN or infinite.
    """
    return ElementSelection(parameters, scores, k, update, include_zeros)


class ElementSelection:
    """See :class:`fairseq_parp.sparsity.structures.Selection`."""

    def __init__(
        self,
        parameters: Mapping[str, PrunedParameter],
        scores: Mapping[str, Tensor],
        k: int,
        update: int | None,
        include_zeros: bool,
    ) -> None:
        self._parameters, self._ranking = parameters, Ranking(scores)
        threshold = self._ranking.threshold(k, update)
        self._threshold = threshold.include_zeros() if include_zeros else threshold

    @property
    def displaces(self) -> bool:
        """Whether a weight that is not zero lies below the threshold."""
        return self._threshold.displaces

    def mask(self) -> Selected:
        """Return the mask; nothing is zeroed."""
        return self._ranking.apply_threshold(self._threshold)

    def apply(self, before: Mapping[str, Tensor] | None) -> Selected:
        """Zero weights and masters below the threshold, and return the mask."""
        scores = self._ranking.tensors
        weights = {  # the same tensor, not only the same memory, where the weight itself is its score
            name: scores[name] if parameter.master is None and _same(scores[name], parameter.weight)
            else parameter.weight.detach()
            for name, parameter in self._parameters.items()
        }  # fmt: skip
        selected = self._ranking.apply_threshold(self._threshold, weights, before)
        masters = {
            name: parameter.ranked
            for name, parameter in self._parameters.items()
            if parameter.master is not None and not _same(scores[name], parameter.master)
        }
        if masters:
            masking.apply_mask(masters, selected.bits)
        return selected


def _same(score: Tensor, tensor: Tensor) -> bool:
    """Return whether the scores are the tensor itself: zeroing one zeroes the other."""
    return score.dtype == tensor.dtype and score.data_ptr() == tensor.data_ptr()
