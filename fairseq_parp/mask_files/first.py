"""Where the first mask of a fairseq training can come from, beside the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fairseq_parp.mask_files.fresh import fresh_weights
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.sparsity import PrunedParameter, Sources


def sources_of(model: Any, seed: int) -> Sources:
    """Return the sources of masks for a fairseq model.

    Args:
        model: finetuned from an encoder whose config is ``model.cfg.w2v_args``.
        seed: of the fresh model.
    """

    def fresh(parameters: Mapping[str, PrunedParameter]) -> dict[str, Tensor]:
        return fresh_weights(model.cfg.w2v_args, parameters, seed)

    return Sources(read_mask, fresh)
