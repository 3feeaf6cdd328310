"""``dense``: nothing is pruned. The mask drops the weights that are zero already."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from fairseq_parp.sparsity.methods.base import Facts, Method
from fairseq_parp.sparsity.schedule import Ramp, constant

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


class Dense(Method):
    """Ordinary finetuning."""

    facts = Facts("dense", "#000000", "s")
    fits: ClassVar = {"criterion": ("magnitude",)}

    def make_schedule(self) -> Ramp:
        """Return sparsity 0 throughout."""
        return constant(Fraction(0))

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Record the weights that are zero already."""
        pruned.prune(update)
