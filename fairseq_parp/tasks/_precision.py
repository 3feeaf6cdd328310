"""Which numeric precisions and trainers the pruning can be kept exact under."""

from __future__ import annotations

from typing import Any

import torch

from fairseq_parp.errors import ConfigError, PrecisionError


def require_supported(cfg: Any, model_cfg: Any) -> None:
    """Refuse, at the start of a training, what would end it later or silently undo the pruning.

    Raises:
        PrecisionError: the precision cannot run on this device.
        ConfigError: the trainer keeps weights where a prune would not reach them.
    """
    if cfg.store_ema:
        allowed = "must be false: the average of pruned and regrown weights is not sparse"
        raise ConfigError("ema.store_ema", True, allowed)
    if getattr(model_cfg, "ddp_backend", None) == "fully_sharded":
        allowed = "is not supported: a rank sees only its shard, and the threshold is over all weights"
        raise ConfigError("distributed_training.ddp_backend", "fully_sharded", allowed)
    if cfg.cpu or not torch.cuda.is_available():
        _require_cpu_precision(cfg)


def _require_cpu_precision(cfg: Any) -> None:
    if cfg.amp:
        raise PrecisionError("common.amp=true does nothing on a CPU: fairseq's autocast is CUDA's; use fp32 or bf16")
    if cfg.fp16 and not (cfg.fp16_no_flatten_grads or cfg.memory_efficient_fp16):
        raise PrecisionError(
            "common.fp16=true keeps one flat master copy on a CUDA device and cannot run on a CPU; "
            "add common.fp16_no_flatten_grads=true or common.memory_efficient_fp16=true"
        )
