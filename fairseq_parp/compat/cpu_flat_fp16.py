"""Plain fp16 ends a CPU run at its start: ``FP16Optimizer`` asks CUDA for the device of its flat master copy.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. Everywhere else fairseq finds that copy by
``parameter.device.index``, which is None on a CPU. Here the device is None, too, and the other code works unchanged.
"""

from __future__ import annotations

from typing import Any

import torch


def _no_device() -> None:
    return None


def install() -> None:
    """Wrap ``FP16Optimizer.build_fp32_params``."""
    from fairseq.optim import FP16Optimizer

    original = FP16Optimizer.build_fp32_params
    if hasattr(original, "mended_by_parp"):
        return

    def build_fp32_params(args: Any, params: list[torch.Tensor], flatten: bool = True) -> Any:
        if params[0].device.type != "cpu":
            return original(args, params, flatten)
        current_device = torch.cuda.current_device
        torch.cuda.current_device = _no_device  # type: ignore[assignment]
        try:
            return original(args, params, flatten)
        finally:
            torch.cuda.current_device = current_device

    build_fp32_params.mended_by_parp = True  # type: ignore[attr-defined]
    FP16Optimizer.build_fp32_params = staticmethod(build_fp32_params)
