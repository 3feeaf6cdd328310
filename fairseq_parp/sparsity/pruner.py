"""Holds the parameters, the method and what must survive a restart; zeroes weights in place.

PARP keeps no dense copy: what a re-prune zeroes is lost and regrows by its own gradient. Between two
re-prunes the weights are dense in part; :meth:`Pruner.make_sparse` shows the sparse model for validation and
saving, and :meth:`Pruner.make_dense` puts the displaced values back, so that looking does not change training.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError, MaskError, ResumeError, first_line
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.config import PREFIX, PruningConfig
from fairseq_parp.sparsity.counting import written_sparsity, zero_count
from fairseq_parp.sparsity.magnitude import magnitude_mask
from fairseq_parp.sparsity.masks import MaskSet, require_bits
from fairseq_parp.sparsity.methods import build_method
from fairseq_parp.sparsity.scope import find_parameters, groups
from fairseq_parp.sparsity.select import Cut, Ranking, Swept


@dataclass
class Target:
    """One prunable parameter.

    Attributes:
        weight: what the model computes with and what a checkpoint holds.
        master: the higher-precision copy that the optimizer steps, where there is one: it ranks, and is zeroed too.
    """

    weight: Tensor
    master: Tensor | None = None

    @property
    def ranked(self) -> Tensor:
        """The tensor whose magnitudes decide. Rounding keeps order, so the master only breaks ties."""
        return self.weight if self.master is None else self.master


@dataclass(frozen=True)
class PruneReport:
    """What the last prune did; ``kept`` are the weights left, by parameter."""

    update: int
    size: int
    kept: Mapping[str, int]
    churn: int
    milliseconds: float

    @property
    def zeros(self) -> int:
        """Number of weights that are zero."""
        return self.size - sum(self.kept.values())


@dataclass
class Pruner:
    """Prunes one model over one run.

    Attributes:
        targets: the prunable parameters by name, in the model's order.
        config: what to do.
        last_update: update after which the run ends; None where that is not known.
        first_mask: mask to start from. None reads the mask file that the config names; where it names none, the
            magnitudes of the initial weights decide.
    """

    targets: dict[str, Target]
    config: PruningConfig
    last_update: int | None = None
    first_mask: MaskSet | None = None
    mask: MaskSet | None = field(default=None, init=False)
    report: PruneReport | None = field(default=None, init=False)
    _pruned_at: int = field(default=0, init=False)
    _displaced: dict[str, Tensor] | None = field(default=None, init=False)
    _masters_stale: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.method = build_method(self.config, self.last_update)
        if self.first_mask is None and self.method.fresh:
            allowed = "needs first_mask, which the weights of a freshly initialised model give"
            raise ConfigError(f"{PREFIX}.method", self.config.method, allowed)
        if self.first_mask is None and self.config.mask is not None:
            self.first_mask = MaskSet.load(self.config.mask)
        if self.first_mask is not None:
            self.first_mask = self.first_mask.renamed(self.targets)
            self._check_first_mask(self.first_mask)

    @classmethod
    def of_model(
        cls,
        model: nn.Module,
        config: PruningConfig,
        last_update: int | None = None,
        first_mask: MaskSet | None = None,
    ) -> Pruner:
        """Make a pruner of the parameters that ``config.scope`` finds in ``model``.

        Raises:
            MaskError: the first mask is of another model, or of another sparsity than the method starts at.
        """
        found = find_parameters(model, config.scope)
        return cls({name: Target(parameter) for name, parameter in found.items()}, config, last_update, first_mask)

    @property
    def size(self) -> int:
        """Number of prunable weights, N."""
        return sum(target.weight.numel() for target in self.targets.values())

    @property
    def sparsity(self) -> float:
        """The sparsity asked for now: at the last prune, along the schedule."""
        return float(self.method.schedule.at(self._pruned_at))

    def live_zeros(self) -> int:
        """Count the weights that are zero at this moment, regrown ones not among them."""
        return sum(masking.zeros(self._weights()).values())

    def vanished(self) -> list[str]:
        """Return the weight matrices of which the last prune left nothing: their layer computes a constant."""
        kept = {} if self.report is None else self.report.kept
        return [name for name in self.targets if kept.get(name) == 0 and self.targets[name].weight.dim() > 1]

    @torch.no_grad()
    def attach(self, masters: Mapping[str, Tensor]) -> None:
        """Tell which higher-precision copies the optimizer keeps, by parameter name."""
        for name, target in self.targets.items():
            target.master = masters.get(name)

    @torch.no_grad()
    def begin(self, update: int) -> PruneReport | None:
        """Take the first mask, once; does nothing in a run that already has one.

        Raises:
            WeightsError: a weight is NaN or infinite; nothing has been zeroed then.
        """
        if self.mask is not None:
            return None
        if self.method.held:
            return self._hold_first_mask(update)
        if self.first_mask is not None:
            self._zero(self.first_mask)
        return self.prune(update)

    @torch.no_grad()
    def step(self, update: int) -> PruneReport | None:
        """Do what the method does after an update: re-prune if it is time, or hold the mask. Call it after each one."""
        if self.method.held and self.mask is not None:
            self._zero(self.mask)
        return self.prune(update) if self.method.reprunes_after(update) else None

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of held zeros, so that clipping and the gradient norm see the sparse model's alone."""
        if self.method.held and self.mask is not None:
            gradients = {name: target.weight.grad for name, target in self.targets.items()}
            self.mask.zero_({name: gradient for name, gradient in gradients.items() if gradient is not None})

    @torch.no_grad()
    def prune(self, update: int) -> PruneReport:
        """Zero the smallest weights in place: exactly max(k, natural zeros) zeros in every group.

        Raises:
            WeightsError: a weight is NaN or infinite; nothing has been zeroed then.
        """
        start = time.perf_counter()
        self._pruned_at = update
        before = None if self.mask is None else self.mask.bits
        swept = [ranking.sweep(cut, weights, before) for ranking, weights, cut in self._cuts(update)]
        self.mask = self._mask_of(swept)
        milliseconds = 1000 * (time.perf_counter() - start)
        kept = {name: count for part in swept for name, count in part.kept.items()}
        self.report = PruneReport(update, self.size, kept, sum(part.churn for part in swept), milliseconds)
        return self.report

    @torch.no_grad()
    def make_sparse(self, update: int | None = None) -> None:
        """Show the sparse model: prune at the current sparsity, setting aside what that displaces.

        Raises:
            WeightsError: a weight is NaN or infinite (at ``update``); nothing has been zeroed then.
        """
        if self._displaced is not None or self.method.held or not self.sparsity:
            return
        cuts = self._cuts(update)
        self._displaced = {name: weight.new_empty(0) for name, weight in self._weights().items()}
        for ranking, weights, cut in cuts:
            if cut.displaces:
                # Where a master is kept whose rounded weight is zero, all that is dropped of that tensor is zero.
                self._displaced |= masking.set_aside(weights, ranking.sweep(cut).bits)

    @torch.no_grad()
    def make_dense(self) -> None:
        """Undo :meth:`make_sparse`, to the last bit."""
        weights, displaced = self._weights(), self._displaced or {}
        # Resumed in a narrower precision, more weights may have become zero: then no value's place is known.
        masking.put_back(weights, {name: values.to(weights[name]) for name, values in displaced.items()})
        for target in map(self.targets.__getitem__, displaced):
            if self._masters_stale and target.master is not None:
                target.master.copy_(target.weight)
        self._displaced = None
        self._masters_stale = False

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside the weights: plain values and tensors only.

        The displaced values are those of every zero of the saved weights, in order, so they need no indices.
        """
        mask = MaskSet.of_nonzero(self._weights()) if self.mask is None else self.mask
        return {
            "config": self.config.identity(),
            "last_update": self.last_update,
            "pruned_at": self._pruned_at,
            "mask": {name: bits.cpu() for name, bits in mask.bits.items()},
            "displaced": {name: values.cpu() for name, values in (self._displaced or {}).items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that ``state`` was saved in; the weights must have been loaded already.

        Raises:
            ResumeError: that run was another one: method, sparsity, interval, scope, ramp or held mask differ.
            MaskError: the state is damaged: its masks or displaced values do not fit the weights.
        """
        try:
            self._require_same_run(state)
            self._require_fitting(state)
            if (pruned_at := int(state["pruned_at"])) < 0:
                raise ValueError(f"pruned_at={pruned_at}")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise MaskError(f"the checkpoint's pruning state is damaged ({first_line(error)})") from None
        shapes = {name: tuple(weight.shape) for name, weight in self._weights().items()}
        mask = MaskSet({name: state["mask"][name].to(self._device(name)) for name in shapes}, shapes)
        if self.method.held and self.first_mask is not None and (moved := self.first_mask.churn(mask)):
            raise ResumeError(f"{PREFIX}.mask", "a mask that it holds", f"another, {moved} weights apart")
        self.mask = mask
        self._pruned_at = pruned_at
        self._displaced = dict(state["displaced"])
        self._masters_stale = True

    def _hold_first_mask(self, update: int) -> PruneReport:
        start = time.perf_counter()
        self._pruned_at = update
        ranked = {name: target.ranked.detach() for name, target in self.targets.items()}
        sparsity = self.method.schedule.at(update)
        mask = self.first_mask or magnitude_mask(ranked, sparsity, self.config.granularity, update)
        self.mask = MaskSet({name: bits.to(self._device(name)) for name, bits in mask.bits.items()}, mask.shapes)
        self._zero(self.mask)
        milliseconds = 1000 * (time.perf_counter() - start)
        kept = {name: self.mask.size(name) - self.mask.zeros(name) for name in self.mask.bits}
        self.report = PruneReport(update, self.mask.size(), kept, 0, milliseconds)
        return self.report

    def _zero(self, mask: MaskSet) -> None:
        mask.zero_(self._weights())
        mask.zero_({name: t.master.detach() for name, t in self.targets.items() if t.master is not None})

    def _require_same_run(self, state: Mapping[str, Any]) -> None:
        saved, asked = state["config"], self.config.identity()
        for key, value in asked.items():
            was = tuple(saved[key]) if isinstance(saved.get(key), list) else saved.get(key)
            if was != value:
                raise ResumeError(f"{PREFIX}.{key}", was, value)
        if self.config.method == "parp_p" and state["last_update"] != self.last_update:
            raise ResumeError(
                "optimization.max_update (where parp_p's ramp ends)", state["last_update"], self.last_update
            )
        if set(state["mask"]) != set(self.targets):
            raise ResumeError(f"{PREFIX}.scope", f"{len(state['mask'])} parameters", f"{len(self.targets)} others")

    def _require_fitting(self, state: Mapping[str, Any]) -> None:
        weights = self._weights()
        for name, weight in weights.items():
            require_bits("the checkpoint", name, state["mask"][name], tuple(weight.shape))
        zeros = masking.zeros(weights)
        for name, values in state["displaced"].items():
            if values.dim() != 1 or values.numel() not in (0, zeros[name]):
                raise MaskError(
                    f"the checkpoint has {values.numel()} displaced values of {name} for {zeros[name]} zeros"
                )

    def _weights(self) -> dict[str, Tensor]:
        return {name: target.weight.detach() for name, target in self.targets.items()}

    def _device(self, name: str) -> torch.device:
        return self.targets[name].weight.device

    def _cuts(self, update: int | None) -> list[tuple[Ranking, dict[str, Tensor], Cut]]:
        """Return, for every group, what ranks, the weights, and the cut that zeroes k of them or all natural zeros.

        All cuts are found before anything is zeroed, so that an error leaves the weights as they were.
        """
        result = []
        for part in groups(self.targets, self.config.granularity):
            weights = {name: target.weight.detach() for name, target in part.items()}
            # the same tensor, not only the same memory, where there is no master
            ranking = Ranking({n: weights[n] if t.master is None else t.master.detach() for n, t in part.items()})
            result.append((ranking, weights, ranking.cut(self._zeros_of(part), update).or_zero()))
        return result

    def _mask_of(self, swept: Iterable[Swept]) -> MaskSet:
        """Return the mask of all groups, in the model's order."""
        bits = {name: packed for part in swept for name, packed in part.bits.items()}
        return MaskSet({n: bits[n] for n in self.targets}, {n: tuple(w.shape) for n, w in self._weights().items()})

    def _zeros_of(self, group: Mapping[str, Target]) -> int:
        size = sum(target.weight.numel() for target in group.values())
        return zero_count(self.method.schedule.at(self._pruned_at), size)

    def _check_first_mask(self, mask: MaskSet) -> None:
        mask.require_same_model({name: tuple(w.shape) for name, w in self._weights().items()}, "the model to prune")
        for group in groups(self.targets, self.config.granularity):
            asked, has = self._zeros_of(group), sum(mask.zeros(name) for name in group)
            if asked != has:
                raise MaskError(
                    f"{PREFIX}.mask={self.config.mask!r} has {has} zeros where sparsity {self.sparsity} means {asked} "
                    f"(granularity {self.config.granularity}); ask for sparsity "
                    f"{written_sparsity(mask.zeros(), mask.size())}, or another mask"
                )
