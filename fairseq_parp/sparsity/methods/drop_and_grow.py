"""``rigl`` and ``set``: sparse from the first update, with a mask that moves: drop some weights, grow as many others.

The number of zeros never changes. Every ``interval`` updates the smallest kept weights are dropped, and as many zeros
are grown: those of the largest gradient (RigL, Evci et al. 2020, "Rigging the lottery", section 3) or random ones (SET,
Mocanu et al. 2018, "Scalable training of artificial neural networks ...", methods). Grown weights start at zero.

Both happen within each share of the allocation; in the papers that is one tensor (``allocation: erk`` or ``tensor``).
RigL's algorithm makes no optimizer step in the update whose gradients choose the grown weights. A fairseq update
always makes its step. Therefore the new mask is applied when the next update begins, and the grown weights of a saved
file were trained.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fairseq_parp.errors import MaskError
from fairseq_parp.safetensors_files import require_bits
from fairseq_parp.sparsity.config import EndConfig
from fairseq_parp.sparsity.criteria import CRITERIA, Moment
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods.base import Facts
from fairseq_parp.sparsity.methods.ending import Ending
from fairseq_parp.sparsity.parameter import PrunedParameter

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


@dataclass(frozen=True)
class DropAndGrowConfig(EndConfig):
    """The keys of ``rigl`` and ``set``."""

    interval: int | None = 100
    """Updates between two changes of the mask, RigL's default."""

    drop_fraction: float = 0.3
    """Fraction of the kept weights that the first change drops: alpha of RigL and zeta of SET."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._fraction("drop_fraction")
        if self.interval is None:
            raise self._error("interval", f"{self.method} changes its mask at intervals; give a number of updates")


class DropAndGrow(Ending):
    """Base class of ``rigl`` and ``set``. ``_pending`` is the next mask, until the next update begins."""

    config_class = DropAndGrowConfig
    config: DropAndGrowConfig
    _pending: MaskSet | None = None

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Take the first mask, by the criterion."""
        pruned.prune(update)

    def before_forward(self, pruned: PrunedWeights, update: int) -> None:
        """Apply the mask that the last update decided on."""
        self._update = update
        if self._pending is not None:
            pruned.hold(self._pending, self._decided_at)
            self._pending = None

    def after_step(self, pruned: PrunedWeights, update: int) -> None:
        """Hold the zeros; decide on the next mask if it is time."""
        if pruned.mask is None:
            return
        pruned.apply(pruned.mask)
        if self._decides(update):
            self._pending, self._decided_at = self._next_mask(pruned, pruned.mask, update), update

    def _decides(self, update: int) -> bool:
        """Return whether the ``update``-th update decides on the next mask."""
        interval = self.config.interval
        return interval is not None and update % interval == 0 and update < self.end

    def state_dict(self) -> dict[str, Any]:
        """Return the end, and the mask that is decided on, if one is."""
        state: dict[str, Any] = {**super().state_dict(), "pending": {}}
        if self._pending is not None:
            state["pending"] = {name: bits.cpu() for name, bits in self._pending.bits.items()}
            state["decided_at"] = self._decided_at
        return state

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:
        """Adopt the chosen mask.

        Raises:
            MaskError: it does not fit.
            ResumeError: the mask would come to rest elsewhere.
        """
        super().load_state_dict(state, mask)
        if not state["pending"]:
            return
        if set(state["pending"]) != set(mask.bits):
            raise MaskError("the checkpoint's next mask is of other parameters than its mask")
        for name, shape in mask.shapes.items():
            require_bits("the checkpoint", name, state["pending"][name], shape)
        self._pending = MaskSet({n: state["pending"][n].to(bits.device) for n, bits in mask.bits.items()}, mask.shapes)
        self._decided_at = int(state["decided_at"])

    def _next_mask(self, pruned: PrunedWeights, mask: MaskSet, update: int) -> MaskSet:
        """Drop the smallest of the kept weights and grow as many of the others, exactly, within every share.

        A tensor without gradients keeps its mask, as no zero can be chosen: it is frozen, or its layer was left out.
        """
        growth = self._growth(pruned, update)
        kept = dict(mask.items())
        weights = {name: each.ranked.float().abs() for name, each in pruned.parameters.items()}
        fraction = self._fraction_at(update)
        bits = dict(mask.bits)
        for share in pruned.shares():
            names = [name for name in share.names if _trains(pruned.parameters[name], kept[name])]
            if not names:
                continue
            zeros, size = sum(mask.zeros(name) for name in names), sum(kept[name].numel() for name in names)
            dropped = round(fraction * (size - zeros))
            # Zeros score 0, kept weights above: first the mask without the dropped ones ...
            survivors = pruned.lowest(
                {name: torch.where(kept[name], weights[name].clamp_min(_TINY), 0.0) for name in names},
                zeros + dropped,
            )
            # ... then survivors score highest, and the rest by their growth score.
            grown = {name: torch.where(survivors.kept(name), _HUGE, growth[name]) for name in names}
            bits |= pruned.lowest(grown, zeros).bits
        return MaskSet({name: bits[name] for name in mask.bits}, mask.shapes)

    @abstractmethod
    def _fraction_at(self, update: int) -> float:
        """Return the fraction of the kept weights that the change after ``update`` updates drops."""

    @abstractmethod
    def _growth(self, pruned: PrunedWeights, update: int) -> dict[str, Tensor]:
        """Return one score >= 0 a weight of each parameter with gradients: the highest among the zeros are grown."""


class Rigl(DropAndGrow):
    """Grow the zeros of largest gradient; drop ever fewer weights, along a cosine."""

    facts = Facts("RigL", "#117733", "h", reprunes=True, frozen_by_scripts=False, grows=True)

    def after_backward(self, pruned: PrunedWeights) -> None:
        """Zero the gradients of the zeros, except in an update whose gradients choose the grown weights."""
        if not self._decides(self._update + 1):
            pruned.mask_gradients()

    def _fraction_at(self, update: int) -> float:
        return self.config.drop_fraction / 2 * (1 + math.cos(math.pi * update / self.end))

    def _growth(self, pruned: PrunedWeights, update: int) -> dict[str, Tensor]:  # noqa: ARG002
        gradients = {name: each.gradient for name, each in pruned.parameters.items()}
        return {name: gradient.float().abs() for name, gradient in gradients.items() if gradient is not None}


class Set(DropAndGrow):
    """Grow random zeros; drop the same fraction every time."""

    facts = Facts("SET", "#999933", "X", reprunes=True, frozen_by_scripts=False, grows=True)

    def after_backward(self, pruned: PrunedWeights) -> None:
        """Zero the gradients of the zeros."""
        pruned.mask_gradients()

    def _fraction_at(self, update: int) -> float:  # noqa: ARG002
        return self.config.drop_fraction

    def _growth(self, pruned: PrunedWeights, update: int) -> dict[str, Tensor]:
        return CRITERIA["random"].scores(pruned.parameters, Moment(update, pruned.seed))


def _trains(parameter: PrunedParameter, kept: Tensor) -> bool:
    """Return whether a parameter got gradients; with several ranks, one without them has zeros instead.

    Where nothing is kept, all gradients may be masked: the tensor may grow again.
    """
    gradient = parameter.gradient
    return gradient is not None and bool(gradient.any() or not kept.any())


_TINY, _HUGE = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
