"""Sources of the first mask of a fairseq training, beside the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from fairseq_parp.mask_files.fresh import fresh_weights
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.sparsity import PrunedParameter, Sources


def sources_of(encoder: Callable[[], Any], seed: int) -> Sources:
    """Return the sources of masks for a fairseq model.

    Args:
        encoder: returns the config of the encoder, with ``model`` and ``task``; called where fresh weights are needed.
        seed: seed of the fresh model.
    """

    def fresh(parameters: Mapping[str, PrunedParameter]) -> dict[str, Tensor]:
        return fresh_weights(encoder(), parameters, seed)

    return Sources(read_mask, fresh)
