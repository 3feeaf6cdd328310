"""One run's pruning: a training calls the session's events, and the session calls the method's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.errors import MaskError, first_line
from fairseq_parp.sparsity.config import PruningConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods import METHODS, Method, build_method
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.pruned_weights import PrunedWeights
from fairseq_parp.sparsity.record import PruneRecord
from fairseq_parp.sparsity.sources import Sources
from fairseq_parp.sparsity.state import require_fitting, require_same_run
from fairseq_parp.sparsity.upgrade import MARKER, VERSION, upgraded_state


@dataclass(repr=False)
class PruningSession(PrunedWeights):
    """One run's pruning: the prunable parameters, their mask, and the method whose events the session calls.

    Make it with :meth:`of_model`. A training calls :meth:`before_forward`, :meth:`after_backward`, :meth:`before_step`
    and :meth:`after_step` in every update, and validates and saves inside :meth:`sparse_view` (docs/api.md).

    Attributes:
        method: the method of the run, built from ``config``.

    Raises:
        ConfigError: the method needs a source or a key that the run does not have.
        MaskError: the mask to start from belongs to another model, or has another sparsity.
    """

    method: Method = field(init=False)

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

        Args:
            model: any module; its parameters are zeroed in place and never replaced.
            config: from :func:`~fairseq_parp.sparsity.read_config`.
            last_update: number of updates of the run; None if it is unknown, which some methods refuse.
            sources: sources of the first masks of ``rp`` and of mask files; by default mask files alone.
            seed: seed of random scores.

        Raises:
            ConfigError: the method needs a source or a key that the run does not have.
            MaskError: the mask to start from belongs to another model, or has another sparsity.
            ScopeError: the scope finds no parameter.
        """
        found = METHODS[config.method].prunable(model, config.scope)
        parameters = {name: PrunedParameter(parameter) for name, parameter in found.items()}
        return cls(parameters, config, last_update, sources or Sources(), seed)

    # --- facts -----------------------------------------------------------------------------------------------------

    def collapsed(self) -> list[str]:
        """Return the names of the weight matrices that the last prune emptied: their layer computes a constant."""
        kept = {} if self.record is None else self.record.kept
        return [name for name in self.parameters if kept.get(name) == 0 and self.parameters[name].weight.dim() > 1]

    # --- events: a training calls these ------------------------------------------------------------------------------

    @torch.no_grad()
    def attach(self, masters: Mapping[str, Tensor]) -> None:
        """Register the higher-precision copies that the optimizer steps.

        Args:
            masters: a tensor of the parameter's shape, by parameter name; a name may be missing.
        """
        for name, parameter in self.parameters.items():
            parameter.master = masters.get(name)

    @torch.no_grad()
    def before_forward(self, update: int) -> PruneRecord | None:
        """Prepare a micro-batch of the update after ``update`` updates; the first call computes the first mask.

        Returns:
            The record of the prune, if this call pruned.

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
        """Change the gradients of a micro-batch as the method requires."""
        self.method.after_backward(self)

    @torch.no_grad()
    def before_step(self, update: int) -> PruneRecord | None:
        """Prepare the optimizer's step after ``update`` updates; return the record if this call pruned."""
        before = self.record
        if self.mask is None and self._selector.needs_gradients:
            self.method.begin(self, update)
        self.method.before_step(self, update)
        return None if self.record is before else self.record

    @torch.no_grad()
    def after_step(self, update: int) -> PruneRecord | None:
        """Let the method act after the ``update``-th step (1 is the first); return the record if this call pruned."""
        before = self.record
        self.method.after_step(self, update)
        return None if self.record is before else self.record

    @torch.no_grad()
    def show_sparse(self, update: int | None = None) -> None:
        """Show the sparse model in the parameters, for validation and saving.

        Raises:
            WeightsError: a weight is NaN or infinite (at ``update``); nothing has been zeroed then.
        """
        if self.mask is not None:
            self.method.show_sparse(self, update)

    @torch.no_grad()
    def show_trained(self) -> None:
        """Restore the trained weights: undo :meth:`show_sparse`, bit for bit."""
        self.method.show_trained(self)

    @contextlib.contextmanager
    def sparse_view(self, update: int | None = None) -> Iterator[None]:
        """Show the sparse model within a block."""
        self.show_sparse(update)
        try:
            yield
        finally:
            self.show_trained()

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs beside the weights: plain values and tensors only.

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

    def require_same_run(self, saved: Mapping[str, Any]) -> None:
        """Compare what :meth:`load_state_dict` is to load with this run, before anything else of a file is used.

        Raises:
            ResumeError: that run was another one.
            MaskError: the state is damaged, or of a newer version.
        """
        with _whole():
            require_same_run(self.config, self.parameters, upgraded_state(saved))

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue the run that saved ``saved``. Load its weights first.

        Args:
            saved: the result of :meth:`state_dict`, unchanged.

        Raises:
            ResumeError: the saved run differs in method, sparsity, interval, scope, ramp or held mask.
            MaskError: the state is damaged or of a newer version, or does not fit the weights.
        """
        with _whole():
            state = upgraded_state(saved)
            require_same_run(self.config, self.parameters, state)
            require_fitting(self._weights(), state)
            if (pruned_at := int(state["pruned_at"])) < 0:
                raise ValueError(f"pruned_at={pruned_at}")
            mask = self._selector.mask({name: state["mask"][name].to(self._device(name)) for name in self.parameters})
            self.method.load_state_dict(state["method"], mask)
        self.mask = mask
        self._pruned_at = pruned_at
        self._stashed = dict(state["stashed"])
        self._masters_stale = True


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Turn what reading a damaged state raises into a MaskError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise MaskError(f"the checkpoint's pruning state is damaged ({first_line(error)})") from None
