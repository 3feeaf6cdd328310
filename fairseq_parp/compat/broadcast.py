"""A run of several ranks resumes under torch >= 2.6: the others take the checkpoint that rank 0 has read.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1: ``broadcast_object`` sends the checkpoint's config and dictionary
pickled, and the other ranks' ``torch.load`` refuses them. The sender is a process of the same run, which has read the
file safely; no file is read here.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


class _TorchThatTrustsRankZero:
    """Replaces ``torch`` inside fairseq's ``distributed.utils`` while an object is sent."""

    def load(self, received: Any, **options: Any) -> Any:
        return torch.load(received, **options, weights_only=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def install() -> None:
    """Wrap ``distributed.utils.broadcast_object``."""
    from fairseq.distributed import utils

    original = utils.broadcast_object
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def broadcast_object(*args: Any, **kwargs: Any) -> Any:
        utils.torch = _TorchThatTrustsRankZero()
        try:
            return original(*args, **kwargs)
        finally:
            utils.torch = torch

    broadcast_object.mended_by_parp = True  # type: ignore[attr-defined]
    utils.broadcast_object = broadcast_object
