"""Owns the prunable parameters, their masters, the mask and its record, and calls the method's events.

A re-prune keeps no dense copy of the weights. Between two re-prunes some zeros of the mask have regrown. Validation and
saving need the sparse model: :meth:`PruningSession.stash` prunes as of now and keeps what that zeroes, and
:meth:`PruningSession.restore` puts it back, so that looking does not change training.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.errors import MaskError, first_line
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.allocation import Share
from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods import METHODS, build_method
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.record import PruneRecord
from fairseq_parp.sparsity.selector import Selector
from fairseq_parp.sparsity.sources import Sources, require_zeros
from fairseq_parp.sparsity.state import require_fitting, require_same_run
from fairseq_parp.sparsity.upgrade import MARKER, VERSION, upgraded_state


@dataclass
class PruningSession:
    """One run's pruning.

    Attributes:
        parameters: the prunable parameters by name, in the model's order.
        config: what to do, from :func:`fairseq_parp.sparsity.read_config`.
        last_update: update after which the run ends; None where that is not known.
        sources: where masks that are not of the weights come from.
        seed: of random scores.
        mask: the last mask; None before the first.
        record: of the last prune in this process.

    Raises:
        ConfigError: the method needs something that the run does not give.
        MaskError: the mask to start from is of another model or sparsity.
    """

    parameters: dict[str, PrunedParameter]
    config: PruningConfig
    last_update: int | None = None
    sources: Sources = field(default_factory=Sources)
    seed: int = 1
    mask: MaskSet | None = field(default=None, init=False)
    record: PruneRecord | None = field(default=None, init=False)
    _pruned_at: int = field(default=0, init=False)
    _stashed: dict[str, Tensor] | None = field(default=None, init=False)
    _masters_stale: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.method = build_method(self.config, self.last_update)
        self.shares()  # an expression that matches nothing is an error of the start
        self.method.prepare(self)

    @classmethod
    def of_model(
        cls,
        model: nn.Module,
        config: PruningConfig,
        last_update: int | None = None,
        sources: Sources | None = None,
        seed: int = 1,
    ) -> PruningSession:
        """Make a session of the parameters that ``config.scope`` finds in ``model``.

        Raises:
            ScopeError: the scope finds nothing.
        """
        found = METHODS[config.method].prunable(model, config.scope)
        parameters = {name: PrunedParameter(parameter) for name, parameter in found.items()}
        return cls(parameters, config, last_update, sources or Sources(), seed)

    # --- facts -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of prunable weights, N."""
        return sum(parameter.weight.numel() for parameter in self.parameters.values())

    @property
    def target(self) -> Fraction:
        """The sparsity asked for at the last prune; before the first, the one to begin with."""
        return self.method.target(self._pruned_at)

    @property
    def sparsity(self) -> float:
        """The sparsity of the last mask, as counted; 0 where there is none yet."""
        return 0.0 if self.mask is None else self.mask.sparsity

    def live_zeros(self) -> int:
        """Count the weights that are zero at this moment, regrown ones not among them."""
        return sum(masking.zeros(self._weights()).values())

    def collapsed(self) -> list[str]:
        """Return the weight matrices of which the last prune left nothing: their layer computes a constant."""
        kept = {} if self.record is None else self.record.kept
        return [name for name in self.parameters if kept.get(name) == 0 and self.parameters[name].weight.dim() > 1]

    # --- events: a training calls these ------------------------------------------------------------------------------

    @torch.no_grad()
    def attach(self, masters: Mapping[str, Tensor]) -> None:
        """Take over the higher-precision copies that the optimizer keeps, by parameter name."""
        for name, parameter in self.parameters.items():
            parameter.master = masters.get(name)

    @torch.no_grad()
    def before_forward(self, update: int) -> PruneRecord | None:
        """Prepare a micro-batch of the update after ``update`` updates; the first call takes the first mask.

        Returns:
            The record of the first mask, where this call took it.

        Raises:
            WeightsError: a weight is NaN or infinite; nothing has been zeroed then.
        """
        self.show_trained()
        before = self.record
        if self.mask is None and not self._selector.needs_gradients:
            self.method.begin(self, update)
        self.method.before_forward(self, update)
        return None if self.record is before else self.record

    @torch.no_grad()
    def after_backward(self) -> None:
        """Treat the gradients of a micro-batch."""
        self.method.after_backward(self)

    @torch.no_grad()
    def before_step(self, update: int) -> PruneRecord | None:
        """Prepare the optimizer's step after ``update`` updates; takes the first mask where it needs gradients."""
        before = self.record
        if self.mask is None and self._selector.needs_gradients:
            self.method.begin(self, update)
        self.method.before_step(self, update)
        return None if self.record is before else self.record

    @torch.no_grad()
    def after_step(self, update: int) -> PruneRecord | None:
        """Do what the method does after the ``update``-th step; return the record where that was a prune."""
        before = self.record
        self.method.after_step(self, update)
        return None if self.record is before else self.record

    @torch.no_grad()
    def show_sparse(self, update: int | None = None) -> None:
        """Make the weights the sparse model's, for validation and saving.

        Raises:
            WeightsError: a weight is NaN or infinite (at ``update``); nothing has been zeroed then.
        """
        if self.mask is not None:
            self.method.show_sparse(self, update)

    @torch.no_grad()
    def show_trained(self) -> None:
        """Make the weights what training left: undo :meth:`show_sparse`, to the last bit."""
        self.method.show_trained(self)

    @contextlib.contextmanager
    def sparse_view(self, update: int | None = None) -> Iterator[None]:
        """Show the sparse model within a block."""
        self.show_sparse(update)
        try:
            yield
        finally:
            self.show_trained()

    # --- operations: methods call these ------------------------------------------------------------------------------

    @torch.no_grad()
    def prune(self, update: int) -> PruneRecord:
        """Zero the weights of lowest score in place: exactly max(k, zeros already there) in every share.

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
        """Return how the zeros of the present target are divided over the tensors."""
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
        """Make ``mask``, of all parameters, the session's after ``update`` updates, and zero what it drops.

        A method that shows the mask itself gives the ``time.perf_counter()`` at which it began: nothing is zeroed then.
        """
        start = time.perf_counter() if started is None else started
        before, self._pruned_at = self.mask, update
        self.mask = MaskSet({name: bits.to(self._device(name)) for name, bits in mask.bits.items()}, mask.shapes)
        if started is None:
            self.apply(self.mask)
        self.record = PruneRecord.of_change(before, self.mask, update, start)
        return self.record

    def apply(self, mask: MaskSet) -> None:
        """Zero what ``mask`` drops, in the weights and in their masters."""
        mask.zero_(self._weights())
        mask.zero_({n: each.ranked for n, each in self.parameters.items() if each.master is not None})

    def mask_gradients(self) -> None:
        """Zero the gradients of what the mask drops."""
        if self.mask is not None:
            gradients = {name: parameter.gradient for name, parameter in self.parameters.items()}
            self.mask.zero_({name: gradient for name, gradient in gradients.items() if gradient is not None})

    def view(self, update: int | None) -> PruneRecord | None:
        """Take the mask of the present weights and show them masked, until :meth:`restore`."""
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
        """Prune as of now at the present target, and keep what that zeroes, until :meth:`restore`."""
        if self._stashed is not None or not self.target:
            return
        if self._selector.needs_gradients:  # those of the last update may be gone: the last mask stands
            bits = {} if self.mask is None else self.mask.bits
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
        """Put the stashed values back."""
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
            MaskError: it is of another model, or of another sparsity than the run begins with.
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

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the weights: plain values and tensors only.

        The stashed values are those of every zero of the saved weights, in order, so they need no indices.
        """
        mask = MaskSet.of_nonzero(self._weights()) if self.mask is None else self.mask
        return {
            "marker": MARKER,
            "version": VERSION,
            "config": self.config.identity(),
            "pruned_at": self._pruned_at,
            "mask": {name: bits.cpu() for name, bits in mask.bits.items()},
            "stashed": {name: values.cpu() for name, values in (self._stashed or {}).items()},
            "method": self.method.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue the run that ``saved`` was saved in; the weights must have been loaded already.

        Raises:
            ResumeError: that run was another one: method, sparsity, interval, scope, ramp or static mask differ.
            MaskError: the state is damaged, or of a newer version: its masks or stashed values do not fit the weights.
        """
        try:
            state = upgraded_state(saved)
            require_same_run(self.config, self.parameters, state)
            require_fitting(self._weights(), state)
            if (pruned_at := int(state["pruned_at"])) < 0:
                raise ValueError(f"pruned_at={pruned_at}")
            mask = self._selector.mask({name: state["mask"][name].to(self._device(name)) for name in self.parameters})
            self.method.load_state_dict(state["method"], mask)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MaskError(f"the checkpoint's pruning state is damaged ({first_line(error)})") from None
        self.mask = mask
        self._pruned_at = pruned_at
        self._stashed = dict(state["stashed"])
        self._masters_stale = True

    # --- within ------------------------------------------------------------------------------------------------------

    @property
    def _selector(self) -> Selector:
        return Selector(self.parameters, self.config, self.method.schedule.end, self.seed)

    def _weights(self) -> dict[str, Tensor]:
        return {name: parameter.weight.detach() for name, parameter in self.parameters.items()}

    def _device(self, name: str) -> torch.device:
        return self.parameters[name].weight.device
