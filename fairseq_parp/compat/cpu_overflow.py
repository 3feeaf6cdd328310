"""An fp16 gradient overflow ends a CPU run: ``Trainer.train_step`` calls ``torch.tensor(0.0).cuda()``.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. On a trainer that does not use CUDA,
``Tensor.cuda`` becomes "stay where you are" for the length of a training step.
"""

from __future__ import annotations

import functools
from typing import Any

import torch


def _stay(tensor: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
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
        to_cuda = torch.Tensor.cuda
        torch.Tensor.cuda = _stay  # type: ignore[assignment, method-assign]
        try:
            return original(self, *args, **kwargs)
        finally:
            torch.Tensor.cuda = to_cuda  # type: ignore[method-assign]

    train_step.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer.train_step = train_step
