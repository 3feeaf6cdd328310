"""``s3_router``: the weights stay as they are, and training learns which of them to keep (Fu et al. 2022).

Every weight has a score. The weights of largest absolute score are kept, and the straight-through gradient of the mask
trains the scores. The model has no additional tensor. The parameter holds weight x mask whenever the model computes, is
validated or is saved. Its gradient becomes that of the scores before it accumulates. During the optimizer's step the
parameter's memory holds the scores; the masters of an optimizer with fp32 masters are the scores.

The mask depends on the order of the scores alone, their gradient on their signs alone. Scores that start n times
smaller therefore learn as with n times the learning rate. This gives the scores a learning rate of their own.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from fairseq_parp.errors import MaskError, ScopeError
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.learned_scores import score_gradient, start_of
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods.base import Facts, Method
from fairseq_parp.sparsity.scope import find_parameters
from fairseq_parp.sparsity.structures.chosen import require_finite

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


@dataclass(frozen=True)
class S3RouterConfig(PruningConfig):
    """The keys of ``s3_router``."""

    allocation: str | tuple[tuple[str, float], ...] = "tensor"
    """As everywhere; the paper keeps the same fraction of each tensor."""

    init_score: str = "weight_rank"
    """Scores at the start: ``weight_rank``, ``weight_magnitude`` or ``random``, see
    :mod:`fairseq_parp.sparsity.learned_scores`."""

    score_lr_scale: float = 1.0
    """Learning rate of the scores, in learning rates of everything else. Exact for an optimizer whose steps do not
    depend on the parameters: Adam and SGD without weight decay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        start_of(self.init_score)
        number = isinstance(self.score_lr_scale, (int, float)) and not isinstance(self.score_lr_scale, bool)
        if not number or not 0 < self.score_lr_scale < math.inf:
            raise self._error("score_lr_scale", "must be a number above 0")


class S3Router(Method):
    """Learned scores. ``_weights`` are the dense weights, ``_scores`` the scores of parameters without a master."""

    facts = Facts("S3-Router", "#332288", "<", frozen_by_scripts=False)
    config_class = S3RouterConfig
    config: S3RouterConfig
    fits: ClassVar = {"criterion": ("magnitude",)}
    learns_scores = True

    @classmethod
    def prunable(cls, model: nn.Module, scope: str | Iterable[str]) -> dict[str, nn.Parameter]:
        """Return the matrices of the scope: biases are never masked.

        Raises:
            ScopeError: the scope finds none.
        """
        found = find_parameters(model, scope)
        matrices = {name: each for name, each in found.items() if each.dim() > 1}
        if not matrices:
            raise ScopeError(f"task.pruning.scope: s3_router masks matrices only, and {next(iter(found))} is a vector")
        return matrices

    def prepare(self, pruned: PrunedWeights) -> None:
        """Let the gradients of the scores pass, even if all other parameters are frozen."""
        self._parameters, self._mask = pruned.parameters, pruned.mask
        self._weights: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}
        self._dropped: dict[str, Tensor] = {}
        self._in_step = self._swapped = self._computed = False
        for name, each in self._parameters.items():
            each.weight.requires_grad_()
            each.weight.register_hook(functools.partial(self.to_scores, name))

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Give every weight its first score, and take the first mask.

        Raises:
            WeightsError: a weight is NaN or infinite.
        """
        pruned.mask_now(update)  # raises where a weight cannot be ranked; not all starts rank
        start, chance = start_of(self.config.init_score), torch.Generator().manual_seed(pruned.seed)
        for name, each in self._parameters.items():
            self._weights[name] = each.weight.detach().clone()
            scores = start(each.ranked, chance) / self.config.score_lr_scale
            self._scores[name] = scores.to(each.ranked.dtype)
        self._settle()
        self._select(pruned, update)

    def before_forward(self, pruned: PrunedWeights, update: int) -> None:  # noqa: ARG002
        """Show the masked weights to the first micro-batch: resuming writes masters, which are scores, over them."""
        if not self._computed:
            self._show()
        self._computed = True

    def before_step(self, pruned: PrunedWeights, update: int) -> None:  # noqa: ARG002
        """Give the scores to the optimizer."""
        self._in_step = True
        self._swap()

    def after_step(self, pruned: PrunedWeights, update: int) -> None:
        """Take the scores back, and take their mask.

        Raises:
            WeightsError: a score is NaN or infinite; :meth:`show_sparse` shows the last mask then.
        """
        self._swap_back()
        self._select(pruned, update)

    def show_sparse(self, pruned: PrunedWeights, update: int | None) -> None:  # noqa: ARG002
        """Show the masked weights, also after an interrupted step, so that no file holds scores in place of weights."""
        self._adopt()
        self._show()

    def show_trained(self, pruned: PrunedWeights) -> None:  # noqa: ARG002
        """Show the masked weights again where the optimizer skipped a step."""
        self._adopt()
        if self._in_step:
            self._show()

    # --- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the scores, and the weights at the mask's zeros, in order."""
        mask = self._mask
        if mask is None:
            return {"scores": {}, "dropped": {}}
        self._adopt()
        return {
            "scores": {name: self._score(name).cpu() for name in self._parameters},
            "dropped": {name: weight[~mask.kept(name)].cpu() for name, weight in self._weights.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:
        """Load the scores, and the weights at the mask's zeros.

        Raises:
            MaskError: they do not fit the mask.
        """
        scores, dropped = dict(state["scores"]), dict(state["dropped"])
        for name, shape in mask.shapes.items():
            if tuple(scores[name].shape) != shape or tuple(dropped[name].shape) != (mask.zeros(name),):
                raise MaskError(f"the checkpoint's scores of {name}, or its weights at the zeros, do not fit its mask")
        require_finite(scores, None)
        self._scores, self._dropped, self._mask = scores, dropped, mask
        self._in_step = self._swapped = self._computed = False

    # --- within ----------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """After loading, when the parameters show masked weights: complete those with the weights at the zeros."""
        if self._dropped and self._mask is not None:
            for name, values in self._dropped.items():
                weight = self._parameters[name].weight.detach().clone()
                weight[~self._mask.kept(name)] = values.to(weight)
                self._weights[name], self._scores[name] = weight, self._scores[name].to(weight.device)
            self._dropped = {}
        self._settle()

    def _settle(self) -> None:
        """Move the scores into the masters, where the optimizer has any."""
        for name in list(self._scores):
            master = self._parameters[name].master
            if master is not None and not self._dropped:
                master.copy_(self._scores.pop(name))

    def _swap(self) -> None:
        """Exchange the memory of parameters and scores: the optimizer steps the scores, and nothing is copied."""
        for name in self._scores:
            weight = self._parameters[name].weight
            weight.data, self._scores[name] = self._scores[name], weight.data
        self._swapped = not self._swapped

    def _swap_back(self) -> None:
        if self._swapped:
            self._swap()

    def _score(self, name: str) -> Tensor:
        return self._scores[name] if name in self._scores else self._parameters[name].ranked

    def to_scores(self, name: str, gradient: Tensor) -> Tensor:
        """Return the gradient of the scores of a parameter, from that of its masked weight."""
        weight = self._weights.get(name)
        return gradient if weight is None else score_gradient(gradient, weight, self._score(name))

    def tensors(self) -> list[Tensor]:
        """Return the tensors beside the model: the weights, and the scores that are not masters."""
        return [*self._weights.values(), *self._scores.values()]

    def _select(self, pruned: PrunedWeights, update: int) -> None:
        """Take the mask of the largest absolute scores in every share, and show its weights."""
        started, bits = time.perf_counter(), dict[str, Tensor]()
        for share in pruned.shares():
            scores = {name: self._score(name) for name in share.names}
            bits |= pruned.lowest(scores, share.zeros, update).bits
        shapes = {name: tuple(each.weight.shape) for name, each in self._parameters.items()}
        pruned.hold(MaskSet({name: bits[name] for name in shapes}, shapes), update, started)
        self._mask = pruned.mask
        self._show()  # weights that the last mask dropped come back

    def _show(self) -> None:
        """Write weight x mask into the parameters."""
        if self._mask is None or not self._weights:
            return
        self._swap_back()
        shown = {name: self._parameters[name].weight.detach() for name in self._weights}
        masking.copy_masked(shown, self._weights, self._mask.bits)
        self._in_step = False
