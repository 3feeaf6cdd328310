"""Selects the weights to zero: the criterion scores them, the allocation divides the zeros, the structure chooses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from fairseq_parp.sparsity.allocation import Share, build_allocation, require_whole
from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.criteria import CRITERIA, Moment
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.structures import STRUCTURES, Selection


@dataclass
class Selector:
    """The three axes of a run, on its parameters.

    Attributes:
        parameters: the prunable parameters by name, in the model's order.
        config: names criterion, structure and allocation.
        final: the sparsity that the run ends with.
        seed: seed of random scores.
    """

    parameters: Mapping[str, PrunedParameter]
    config: PruningConfig
    final: Fraction
    seed: int

    def __post_init__(self) -> None:
        self._criterion = CRITERIA[self.config.criterion]
        self._structure = STRUCTURES[self.config.structure]
        self._allocation = build_allocation(self.config.allocation, self.final)

    @property
    def needs_gradients(self) -> bool:
        """Whether the criterion's scores are of gradients."""
        return self._criterion.needs_gradients

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The parameters' shapes."""
        return {name: tuple(parameter.weight.shape) for name, parameter in self.parameters.items()}

    def shares(self, sparsity: Fraction) -> list[Share]:
        """Return how the zeros of a sparsity are divided over the tensors.

        Raises:
            ScopeError: an expression of the allocation matches nothing.
            ConfigError: the allocation leaves a tensor out, or asks more zeros than there are weights.
        """
        shares = self._allocation(self.shapes, sparsity)
        require_whole(shares, self.shapes, self.config.allocation)
        return shares

    def select(self, sparsity: Fraction, update: int | None, include_zeros: bool = True) -> list[Selection]:
        """Select the weights to zero in every share before any is zeroed: an error leaves all weights unchanged.

        Raises:
            WeightsError: a weight is NaN or infinite (at ``update``).
        """
        scores = self._scores(update)
        return [
            self._structure(share.of(self.parameters), share.of(scores), share.zeros, update, include_zeros)
            for share in self.shares(sparsity)
        ]

    def mask_now(self, sparsity: Fraction, update: int | None) -> MaskSet:
        """Return the mask of the present weights, exactly k zeros in every share; errors as :meth:`select`."""
        return self._joined(self.select(sparsity, update, include_zeros=False))

    def of_weights(self, weights: Mapping[str, Tensor], sparsity: Fraction) -> MaskSet:
        """Return the magnitude mask of other weights of the same names and shapes."""
        others = {name: PrunedParameter(weights[name]) for name in self.parameters}
        scores = {name: other.ranked for name, other in others.items()}
        selections = (
            self._structure(share.of(others), share.of(scores), share.zeros, None, False)
            for share in self.shares(sparsity)
        )
        return self._joined(selections)

    def lowest(self, scores: Mapping[str, Tensor], k: int, update: int | None = None) -> MaskSet:
        """Return the mask that leaves out exactly the ``k`` scores of lowest magnitude; ties by position.

        Args:
            scores: scores of some of the parameters, in their shapes.
            k: how many.
            update: named in the error message.

        Raises:
            WeightsError: a score is NaN or infinite.
        """
        parameters = {name: self.parameters[name] for name in scores}
        found = self._structure(parameters, scores, k, update, False).mask()
        return MaskSet(found.bits, {name: tuple(each.shape) for name, each in scores.items()})

    def mask(self, bits: Mapping[str, Tensor]) -> MaskSet:
        """Return a mask of all parameters, in the model's order."""
        return MaskSet({name: bits[name] for name in self.parameters}, self.shapes)

    def _joined(self, selections: Iterable[Selection]) -> MaskSet:
        return self.mask({name: bits for selection in selections for name, bits in selection.mask().bits.items()})

    def _scores(self, update: int | None) -> dict[str, Tensor]:
        """Return the criterion's scores, with weights that are zero already below all others."""
        scores = self._criterion.scores(self.parameters, Moment(update or 0, self.seed))
        return {name: _above_zeros(scores[name], parameter) for name, parameter in self.parameters.items()}


def _above_zeros(scores: Tensor, parameter: PrunedParameter) -> Tensor:
    """Return scores in which only weights that are zero have a zero; the weights themselves are such scores.

    A weight that rounding made zero counts as a zero, for every value of its master: a file shows no other zeros.
    """
    if scores.data_ptr() == parameter.ranked.data_ptr():
        return scores
    smallest = torch.finfo(scores.dtype).tiny
    return scores.abs().clamp_min(smallest).masked_fill(parameter.weight.detach() == 0, 0)
