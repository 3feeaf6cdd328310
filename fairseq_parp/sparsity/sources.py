"""Sources of a first mask, beside the weights that are pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fairseq_parp.errors import ConfigError, MaskError
from fairseq_parp.sparsity.allocation import Share
from fairseq_parp.sparsity.config import PREFIX
from fairseq_parp.sparsity.counting import written_sparsity
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.parameter import PrunedParameter


def _no_fresh_weights(_parameters: Mapping[str, PrunedParameter]) -> dict[str, Tensor]:
    allowed = "needs the weights of a freshly initialised model: give fresh_weights"
    raise ConfigError(f"{PREFIX}.method", "rp", allowed)


@dataclass(frozen=True)
class Sources:
    """Sources of a first mask, beside the weights themselves.

    Attributes:
        read_mask: reads the mask file at a path.
        fresh_weights: returns weights of a freshly initialised model for the prunable parameters, by name.
    """

    read_mask: Callable[[str], MaskSet] = MaskSet.load
    fresh_weights: Callable[[Mapping[str, PrunedParameter]], dict[str, Tensor]] = _no_fresh_weights


def require_zeros(path: str, mask: MaskSet, shares: Sequence[Share], sparsity: float, allocation: object) -> None:
    """Check that a mask from a file has the number of zeros of the run's start, in every share.

    Raises:
        MaskError: it has another number.
    """
    for share in shares:
        has = sum(mask.zeros(name) for name in share.names)
        if share.zeros != has:
            raise MaskError(
                f"{PREFIX}.mask={path!r} has {has} zeros where sparsity {sparsity} means {share.zeros} "
                f"(allocation {allocation}); ask for sparsity "
                f"{written_sparsity(mask.zeros(), mask.size())}, or another mask"
            )
