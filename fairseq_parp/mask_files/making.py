"""A mask for the model in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.mask_files.reading import tensors_of
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.magnitude import magnitude_mask, random_mask
from fairseq_parp.sparsity.scope import find_names


def make_mask(
    checkpoint: str | Path,
    sparsity: float,
    by: str = "magnitude",
    *,
    scope: str | Sequence[str] = "paper",
    allocation: str = "global",
    seed: int = 1,
) -> MaskSet:
    """Return a mask of ``sparsity`` for the model in ``checkpoint``, pretrained or finetuned.

    Args:
        checkpoint: a fairseq checkpoint.
        sparsity: fraction of zeros within the scope, in [0, 1).
        by: ``magnitude`` of its weights (MPI for a pretrained model, OMP's mask for a finetuned one); ``random``, all
            weights alike; ``random-init``, magnitude of a freshly initialised model of the same shape (RP).
        scope: the prunable parameters, as ``task.pruning.scope``.
        allocation: division of the zeros: ``global``, ``layer``, ``tensor`` or ``erk``.
        seed: seed of ``random`` and ``random-init``.

    Raises:
        CheckpointError: the file cannot be read safely.
        ScopeError: the scope finds no parameter.
        WeightsError: a weight is NaN or infinite.
    """
    state = checkpoints.read(checkpoint, with_fairseq=by == "random-init")
    tensors = tensors_of(state)
    scores = {name: tensors[name].contiguous() for name in find_names(tensors, scope)}
    if by == "random":
        return random_mask({name: tuple(tensor.shape) for name, tensor in scores.items()}, sparsity, seed, allocation)
    if by == "random-init":
        scores = _fresh(state, scores, absolute(checkpoint), seed)
    return magnitude_mask(scores, sparsity, allocation)


def _fresh(state: Mapping[str, Any], named: Mapping[str, Tensor], path: str, seed: int) -> dict[str, Tensor]:
    from fairseq_parp.mask_files.fresh import encoder_config, fresh_weights

    try:
        return fresh_weights(encoder_config(state), named, seed)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"its config is not enough to build the model anew ({type(error).__name__}: {error})"
        raise CheckpointError(path, reason) from error
