"""``ste``: the model computes with a magnitude mask, and the dense weights behind it are trained straight through.

In the forward and backward pass the smallest weights are zero. The gradient of the masked weights is applied to the
dense ones (straight-through estimator, Bengio et al. 2013), so that a masked weight can grow and come back at any
update. The mask is computed anew at every update. A checkpoint's ``model`` holds the masked weights; the dense
values at the zeros are stored beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fairseq_parp.sparsity.methods.base import Facts, Method

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


class Ste(Method):
    """Straight-through magnitude pruning."""

    facts = Facts("STE", "#882255", ">", frozen_by_scripts=False)
    fits: ClassVar = {"criterion": ("magnitude",)}

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Take the first mask; the weights behind it stay."""
        pruned.view(update)

    def before_forward(self, pruned: PrunedWeights, update: int) -> None:
        """Show the masked weights to the micro-batch."""
        pruned.view(update)

    def before_step(self, pruned: PrunedWeights, update: int) -> None:  # noqa: ARG002
        """Give the dense weights to the optimizer."""
        pruned.restore()

    def show_sparse(self, pruned: PrunedWeights, update: int | None) -> None:
        """Show the masked weights."""
        pruned.view(update)

    def show_trained(self, pruned: PrunedWeights) -> None:
        """Show the dense weights."""
        pruned.restore()
