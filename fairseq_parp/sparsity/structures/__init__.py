"""Structures: the groups of weights that are zeroed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from fairseq_parp.registry import Registry
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.select import Selected


class Selection(Protocol):
    """The weights of one share of tensors that are to be zeroed, found but not zeroed yet."""

    @property
    def displaces(self) -> bool:
        """Whether zeroing would change any weight."""

    def mask(self) -> Selected:
        """Return the mask that leaves these weights out; nothing is zeroed."""

    def apply(self, before: Mapping[str, Tensor] | None) -> Selected:
        """Zero these weights and their masters, and return the mask.

        Args:
            before: packed bits of the earlier mask by name, to count churn.
        """


Structure = Callable[[Mapping[str, PrunedParameter], Mapping[str, Tensor], int, int | None, bool], Selection]
"""Returns a selection. Arguments: the parameters of a share; their scores, by the same names; the number of zeros k;
the update (for messages); and whether all weights that are already zero count as dropped, even more than k."""

STRUCTURES: Registry[Structure] = Registry("task.pruning.structure")

from fairseq_parp.sparsity.structures import element  # noqa: E402

STRUCTURES.register("element", element.select)
