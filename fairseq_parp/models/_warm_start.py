"""Loads the tensors that a pretrained encoder, or another grounded run, has in common with a grounded model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fairseq_parp.checkpoints import read
from fairseq_parp.errors import CheckpointError, absolute, listing
from fairseq_parp.training.branches import require_same_branches, require_same_encoder
from fairseq_parp.training.starting import require_finished

logger = logging.getLogger(__name__)

_OF_SSL = ("quantizer.", "project_q.", "target_glu.", "final_proj.")


def load_into(model: nn.Module, path: str, encoder: str | None = None) -> None:
    """Load a pretrained wav2vec 2.0 or a grounded checkpoint into a model; log tensors that only one of them has.

    Parts that may be missing in the file: the grounded ones, the quantiser, and layers above the tap, which start at
    random. Parts of the file that the model lacks are left out. A branch that both have has the same parts in both.

    Args:
        model: the grounded model.
        path: path of the checkpoint.
        encoder: name of the image encoder of the run's features; None without pictures.

    Raises:
        CheckpointError: the checkpoint's training has not finished; it lacks a layer below the tap; a tensor or a
            branch has another shape; or another image encoder made its features.
    """
    state = read(path)
    require_finished(path, state)
    saved: Mapping[str, Tensor] = state["model"]
    own = model.state_dict()
    common = {name: saved[name] for name in own if name in saved}
    for name, value in common.items():
        if value.shape != own[name].shape:
            shapes = f"{name} has the shape {tuple(value.shape)}, the model's has {tuple(own[name].shape)}"
            raise CheckpointError(absolute(path), f"is of another shape or branch than model.* describes: {shapes}")
    require_same_branches(path, state, own)
    require_same_encoder(path, state, encoder)
    missing = [name for name in own if name not in saved]
    needed = [name for name in missing if not _may_be_missing(name, model)]
    if needed:
        reason = f"is not a wav2vec 2.0 that fits: it lacks {listing(needed)}"
        raise CheckpointError(absolute(path), reason)
    model.load_state_dict(common, strict=False)
    unused = sorted({name.split(".")[0] for name in saved if name not in own})
    random = sorted({name.split(".")[0] for name in missing})
    logger.info(
        f"starts from {path}: {len(common)} tensors; at random: {random or 'none'}; not used: {unused or 'none'}"
    )


def _may_be_missing(name: str, model: Any) -> bool:
    if name.startswith(("grounded.", "encoder.cls", *_OF_SSL)):
        return True
    above = name.startswith("encoder.layers.") and int(name.split(".")[2]) >= model.cfg.shared_layers
    return above and model.grounded is not None
