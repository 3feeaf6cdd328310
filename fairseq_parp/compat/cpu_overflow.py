"""An fp16 gradient overflow ends a CPU run: ``Trainer.train_step`` calls ``torch.tensor(0.0).cuda()``.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. On a trainer that does not use CUDA, a
tensor that ``Tensor.cuda`` cannot move stays where it is, for the length of a training step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

_to_cuda = torch.Tensor.cuda


def _or_stay(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    try:
        return _to_cuda(tensor, *args, **kwargs)
    except (AssertionError, RuntimeError):  # a torch without CUDA, a machine without it
        return tensor


def install() -> None:
    """Wrap ``Trainer.train_step``."""
    from fairseq.trainer import Trainer

    original = Trainer.train_step
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def train_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.cuda:
            return original(self, *args, **kwargs)
        torch.Tensor.cuda = _or_stay  # type: ignore[assignment, method-assign]
        try:
            return original(self, *args, **kwargs)
        finally:
            torch.Tensor.cuda = _to_cuda  # type: ignore[method-assign]

    train_step.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer.train_step = train_step
