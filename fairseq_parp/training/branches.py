"""Compares the branches of a grounded checkpoint with those of a run that starts from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.errors import CheckpointError, absolute, listing

_COMPARED = ("audio", "text", "image")
"""Branches of ``model.grounded``. A codebook may be added to a checkpoint without one."""


def require_same_branches(path: str, state: Mapping[str, Any], own: Iterable[str]) -> None:
    """Check that no part of a branch would start at random beside trained ones. A branch of only one of both may.

    Args:
        path: path of the checkpoint.
        state: its content.
        own: names of the model's tensors.

    Raises:
        CheckpointError: a branch has other parts.
    """
    names = set(own)
    for branch in _COMPARED:
        saved, here = (
            {name for name in each if name.startswith(f"grounded.{branch}.")} for each in (state["model"], names)
        )
        if saved and here and saved != here:
            parts = f"only one of both has {listing(sorted(saved ^ here))}"
            raise CheckpointError(absolute(path), f"is of another shape or branch than model.* describes: {parts}")


def require_same_encoder(path: str, state: Mapping[str, Any], encoder: str | None) -> None:
    """Check that an image branch gets features of the encoder that it was trained with.

    Args:
        path: path of the checkpoint.
        state: its content.
        encoder: name of the image encoder of the run's features; None if the run has no pictures.

    Raises:
        CheckpointError: another encoder made the features that the checkpoint was trained with.
    """
    if encoder is None or not any(name.startswith("grounded.image.") for name in state["model"]):
        return
    was = OmegaConf.select(OmegaConf.create(state.get("cfg") or {}), "task.image_encoder")
    if was not in (None, encoder):
        way_out = "give those features, or start from the encoder alone, which fairseq-parp export --to fairseq writes"
        reason = f"its image branch was trained on features by {was!r}; this run's are by {encoder!r}; {way_out}"
        raise CheckpointError(absolute(path), reason)
