"""Criteria: the scores of weights. The weights of lowest score are zeroed.

A criterion is a function of the prunable parameters, by name, and of the moment. It returns one score a weight, by
the same names; only the scores' magnitudes count. Weights that are zero already always score lowest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from fairseq_parp.registry import Registry
from fairseq_parp.sparsity.parameter import PrunedParameter


class Moment(NamedTuple):
    """The number of updates before the scores are computed, and the seed of the run."""

    update: int
    seed: int


class Criterion(NamedTuple):
    """A criterion.

    Attributes:
        scores: returns one score a weight for parameters and moment, by name, in the parameters' shapes.
        needs_gradients: the scores need the gradients of the present update: the first mask is then taken between the
            first update's backward pass and its step.
    """

    scores: Callable[[Mapping[str, PrunedParameter], Moment], dict[str, Tensor]]
    needs_gradients: bool = False


CRITERIA: Registry[Criterion] = Registry("task.pruning.criterion")

from fairseq_parp.sparsity.criteria import magnitude, random, saliency  # noqa: E402

CRITERIA.register("magnitude", Criterion(magnitude.scores))
CRITERIA.register("random", Criterion(random.scores))
CRITERIA.register("saliency", Criterion(saliency.scores, needs_gradients=True))
