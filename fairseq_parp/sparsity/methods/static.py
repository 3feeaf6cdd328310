"""``mpi``, ``rp`` and ``fixed``: one mask, held. Its zeros get no gradient, and no optimizer moves them.

``mpi`` takes the mask of the initial weights (MPI, magnitude pruning at initialisation), ``rp`` that of a freshly
initialised model of the same shape (RP, random pruning), ``fixed`` the one of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fairseq_parp.errors import ConfigError, ResumeError
from fairseq_parp.sparsity.config import PREFIX, MaskConfig
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods.base import Facts, Method

if TYPE_CHECKING:
    from fairseq_parp.sparsity.pruned_weights import PrunedWeights


class Static(Method):
    """A mask that is taken once and held."""

    _first: MaskSet | None = None

    def begin(self, pruned: PrunedWeights, update: int) -> None:
        """Take the first mask; where none was given, that of the present weights."""
        pruned.hold(self._first or pruned.mask_now(update), update)

    def after_backward(self, pruned: PrunedWeights) -> None:
        """Zero the gradients of the zeros, so that clipping and the gradient norm see the sparse model's alone."""
        pruned.mask_gradients()

    def after_step(self, pruned: PrunedWeights, update: int) -> None:  # noqa: ARG002
        """Zero the weights that the optimizer moved: momentum and weight decay need no gradient."""
        if pruned.mask is not None:
            pruned.apply(pruned.mask)

    def load_state_dict(self, state: Mapping[str, Any], mask: MaskSet) -> None:  # noqa: ARG002
        """Check that the saved mask is the one that this run would hold.

        Raises:
            ResumeError: it is another.
        """
        if self._first is not None and (moved := self._first.churn(mask)):
            raise ResumeError(f"{PREFIX}.mask", "a mask that it holds", f"another, {moved} weights apart")


class Mpi(Static):
    """The mask of the initial weights."""

    facts = Facts("MPI", "#E69F00", "v")


class Rp(Static):
    """The mask of a freshly initialised model."""

    facts = Facts("RP", "#CC79A7", "X")
    fits: ClassVar = {"criterion": ("magnitude",)}

    def prepare(self, pruned: PrunedWeights) -> None:
        """Build the fresh model and take its mask."""
        self._first = pruned.mask_of(pruned.fresh_weights(), self.target(0))


class Fixed(Static):
    """The mask of a file."""

    facts = Facts("fixed mask", "#7F7F7F", "P")
    config_class = MaskConfig
    config: MaskConfig
    fits: ClassVar = {"criterion": ("magnitude",), "structure": ("element",)}  # the file holds a mask of any structure

    def prepare(self, pruned: PrunedWeights) -> None:
        """Read the mask.

        Raises:
            ConfigError: none is named.
        """
        self._first = pruned.read_mask(self.config.mask)
        if self._first is None:
            allowed = "method fixed needs it: the mask file, or a sparse checkpoint"
            raise ConfigError(f"{PREFIX}.mask", self.config.mask, allowed)
