"""The mask that a training starts from, where it is not the magnitude of the initial weights."""

from __future__ import annotations

from typing import Any

from fairseq_parp.mask_files.fresh import fresh_weights
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.sparsity import MaskSet, PruningConfig, find_parameters
from fairseq_parp.sparsity.magnitude import magnitude_mask
from fairseq_parp.sparsity.methods import build_method


def first_mask(pruning: PruningConfig, model: Any, last_update: int | None, seed: int) -> MaskSet | None:
    """Return the first mask of a training: of a freshly initialised model, of a file, or None.

    Args:
        pruning: says which.
        model: a fairseq model finetuned from an encoder whose config is ``model.cfg.w2v_args``.
        last_update: update after which the run ends; None where that is not known.
        seed: of the fresh model.

    Raises:
        MaskError, CheckpointError: the mask file cannot be read.
        ScopeError: the scope holds what is not of the encoder, where a fresh one is asked for.
    """
    method = build_method(pruning, last_update)
    if method.fresh:
        names = find_parameters(model, pruning.scope)
        return magnitude_mask(
            fresh_weights(model.cfg.w2v_args, names, seed), method.schedule.start, pruning.granularity
        )
    return None if pruning.mask is None else read_mask(pruning.mask)
