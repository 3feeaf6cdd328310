"""The prunable parameters with their masters and mask, and the operations that methods make on them.

A re-prune keeps no dense copy of the weights. Between two re-prunes some zeros of the mask have regrown. Validation and
saving need the sparse model: :meth:`PrunedWeights.stash` prunes the present weights and keeps the zeroed values, and
:meth:`PrunedWeights.restore` restores them, so validation and saving do not change the training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.allocation import Share
from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.record import PruneRecord
from fairseq_parp.sparsity.schedule import Ramp
from fairseq_parp.sparsity.selector import Selector
from fairseq_parp.sparsity.sources import Sources, require_zeros


class _Targets(Protocol):
    """All of a method that its weights know: so no method's module is needed here."""

    schedule: Ramp

    def target(self, update: int) -> Fraction:
        """Return the sparsity of a prune after ``update`` updates."""


@dataclass
class PrunedWeights:
    """Weights under a mask: the values that a method may read and change, and the operations on them.

    Attributes:
        parameters: the prunable parameters by name, in the model's order.
        config: from :func:`fairseq_parp.sparsity.read_config`.
        last_update: update after which the run ends; None if it is unknown.
        sources: sources of masks other than the weights.
        seed: seed of random scores.
        method: sets the target sparsity of every prune.
        mask: the last mask; None before the first.
        record: record of the last prune in this process.
    """

    parameters: dict[str, PrunedParameter]
    config: PruningConfig
    last_update: int | None = None
    sources: Sources = field(default_factory=Sources)
    seed: int = 1
    method: _Targets = field(init=False)
    mask: MaskSet | None = field(default=None, init=False)
    record: PruneRecord | None = field(default=None, init=False)
    _pruned_at: int = field(default=0, init=False)
    _stashed: dict[str, Tensor] | None = field(default=None, init=False)
    _masters_stale: bool = field(default=False, init=False)

    def __repr__(self) -> str:
        name, pruning = type(self).__name__, f"{self.config.method} at {self.config.sparsity}"
        return f"{name}({pruning}, {self.size} weights in {len(self.parameters)} parameters, mask {self.mask})"

    # --- facts -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of prunable weights, N."""
        return sum(parameter.weight.numel() for parameter in self.parameters.values())

    @property
    def target(self) -> Fraction:
        """The sparsity requested at the last prune; before the first prune, the initial one."""
        return self.method.target(self._pruned_at)

    @property
    def sparsity(self) -> float:
        """The sparsity of the last mask, as counted; 0 before the first mask."""
        return 0.0 if self.mask is None else self.mask.sparsity

    def live_zeros(self) -> int:
        """Count the weights that are zero now; regrown weights do not count."""
        return sum(masking.zeros(self._weights()).values())

    # --- operations ------------------------------------------------------------------------------

    @torch.no_grad()
    def prune(self, update: int) -> PruneRecord:
        """Zero the weights of lowest score in place: exactly max(k, pre-existing zeros) in every share.

        Raises:
            WeightsError: a weight is NaN or infinite; nothing has been zeroed then.
        """
        start = time.perf_counter()
        self._pruned_at = update
        before = None if self.mask is None else self.mask.bits
        selected = [selection.apply(before) for selection in self._selector.select(self.target, update)]
        self.mask = self._selector.mask({name: bits for part in selected for name, bits in part.bits.items()})
        kept = {name: count for part in selected for name, count in part.kept.items()}
        churn, milliseconds = sum(part.churn for part in selected), 1000 * (time.perf_counter() - start)
        self.record = PruneRecord(update, self.size, kept, churn, milliseconds)
        return self.record

    def shares(self) -> list[Share]:
        """Return the division of the present target's zeros over the tensors."""
        return self._selector.shares(self.target)

    def mask_now(self, update: int) -> MaskSet:
        """Return the mask of the present weights, exactly k zeros in every share; nothing is zeroed."""
        return self._selector.mask_now(self.target, update)

    def mask_of(self, weights: Mapping[str, Tensor], sparsity: Fraction) -> MaskSet:
        """Return the magnitude mask of other weights of the same names and shapes."""
        return self._selector.of_weights(weights, sparsity)

    def lowest(self, scores: Mapping[str, Tensor], k: int, update: int | None = None) -> MaskSet:
        """Return the mask of all but the ``k`` scores of lowest magnitude; see :meth:`Selector.lowest`."""
        return self._selector.lowest(scores, k, update)

    def hold(self, mask: MaskSet, update: int, started: float | None = None) -> PruneRecord:
        """Adopt ``mask``, of all parameters, after ``update`` updates, and zero the weights that it drops.

        A method that applies the mask itself passes ``started``, its ``time.perf_counter()`` at the start. Nothing is
        zeroed then.
        """
        start = time.perf_counter() if started is None else started
        before, self._pruned_at = self.mask, update
        self.mask = MaskSet({name: bits.to(self._device(name)) for name, bits in mask.bits.items()}, mask.shapes)
        if started is None:
            self.apply(self.mask)
        self.record = PruneRecord.of_change(before, self.mask, update, start)
        return self.record

    def apply(self, mask: MaskSet) -> None:
        """Zero the weights that ``mask`` drops, and their masters."""
        mask.zero_(self._weights())
        mask.zero_({n: each.ranked for n, each in self.parameters.items() if each.master is not None})

    def mask_gradients(self) -> None:
        """Zero the gradients of the weights that the mask drops."""
        if self.mask is not None:
            gradients = {name: parameter.gradient for name, parameter in self.parameters.items()}
            self.mask.zero_({name: gradient for name, gradient in gradients.items() if gradient is not None})

    def view(self, update: int | None) -> PruneRecord | None:
        """Compute the mask of the present weights and show them masked, until :meth:`restore`."""
        if self._stashed is not None:
            return None
        start = time.perf_counter()
        self._pruned_at = self._pruned_at if update is None else update
        selections = self._selector.select(self.target, update)
        before = self.mask
        self.mask = self._selector.mask({name: bits for each in selections for name, bits in each.mask().bits.items()})
        self._stashed = masking.stash(self._weights(), self.mask.bits)
        self.record = PruneRecord.of_change(before, self.mask, self._pruned_at, start)
        return self.record

    def stash(self, update: int | None) -> None:
        """Prune the present weights at the present target, and keep the zeroed values until :meth:`restore`."""
        if self._stashed is not None or not self.target:
            return
        if self._selector.needs_gradients:  # those of the last update may be gone: the last mask stays
            present = MaskSet.of_nonzero(self._weights()).bits  # a kept weight may have been rounded to zero since
            bits = {} if self.mask is None else {name: kept & present[name] for name, kept in self.mask.bits.items()}
        else:
            found = (
                selection.mask().bits for selection in self._selector.select(self.target, update) if selection.displaces
            )
            bits = {name: packed for part in found for name, packed in part.items()}
        weights = self._weights()
        # A master may be kept although its rounded weight is zero; then all dropped weights of that tensor are zero.
        stashed = masking.stash({name: weights[name] for name in bits}, bits)
        self._stashed = {name: stashed.get(name, weight.new_empty(0)) for name, weight in weights.items()}

    def restore(self) -> None:
        """Restore the stashed values."""
        weights, stashed = self._weights(), self._stashed or {}
        # Resumed in a narrower precision, more weights may have become zero: then no value's place is known.
        masking.restore(weights, {name: values.to(weights[name]) for name, values in stashed.items()})
        for parameter in map(self.parameters.__getitem__, stashed):
            if self._masters_stale and parameter.master is not None:
                parameter.master.copy_(parameter.weight)
        self._stashed = None
        self._masters_stale = False

    def read_mask(self, path: str | None) -> MaskSet | None:
        """Read a mask for these parameters; None without a path.

        Raises:
            MaskError: the mask belongs to another model, or has another sparsity than the start of the run.
        """
        if path is None:
            return None
        mask = self.sources.read_mask(path).renamed(self.parameters)
        mask.require_same_model(self._selector.shapes, "the model to prune")
        require_zeros(path, mask, self.shares(), float(self.target), self.config.allocation)
        return mask

    def fresh_weights(self) -> dict[str, Tensor]:
        """Return the weights of a freshly initialised model, by the parameters' names."""
        return self.sources.fresh_weights(self.parameters)

    # --- within ------------------------------------------------------------------------------------------------------

    @property
    def _selector(self) -> Selector:
        return Selector(self.parameters, self.config, self.method.schedule.end, self.seed)

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter.weight.detach() for name, parameter in self.parameters.items()}

    def _device(self, name: str) -> torch.device:
        return self.parameters[name].weight.device
