"""The numeric precisions and trainers under which the pruning is exact."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf.errors import OmegaConfBaseException

from fairseq_parp.errors import ConfigError, PrecisionError


def name_of(cfg: Any) -> str:
    """Return the precision of a run in words, from its keys under ``common``."""
    if cfg.amp:
        return "amp"
    half = "fp16" if cfg.fp16 else "bf16" if cfg.bf16 else "fp32"
    if cfg.fp16 and cfg.memory_efficient_fp16:
        return "memory-efficient fp16"
    return half if not cfg.fp16 or cfg.fp16_no_flatten_grads else "flat fp16"


def masters_after_resume(now: str, restored: bool) -> str:
    """Describe the fp32 masters of a run that resumes in precision ``now`` from another precision's checkpoint."""
    if restored:
        return "the fp32 masters are the checkpoint's, the weights are rounded from them"
    if now in ("bf16", "fp16", "flat fp16"):
        return "the fp32 masters start from the checkpoint's weights"
    return "the weights are the checkpoint's, there are no fp32 masters"


def require_unsharded(cfg: Any) -> None:
    """Refuse sharded parameters. To be called before fairseq builds the model, for which it wants fairscale.

    Raises:
        ConfigError: the parameters are sharded.
    """
    try:
        backend = cfg.ddp_backend
    except OmegaConfBaseException:  # a task on its own, whose config is part of no training's
        return
    if backend == "fully_sharded":
        allowed = "is not supported: a rank sees only its shard, and the threshold is over all weights"
        raise ConfigError("distributed_training.ddp_backend", "fully_sharded", allowed)


def require_supported(cfg: Any) -> None:
    """Refuse options that would end a training later or silently undo the pruning.

    Raises:
        PrecisionError: the precision cannot run on this device.
        ConfigError: the trainer keeps weights where a prune would not reach them.
    """
    if cfg.store_ema:
        allowed = "must be false: the average of pruned and regrown weights is not sparse"
        raise ConfigError("ema.store_ema", True, allowed)
    if cfg.amp and (cfg.cpu or not torch.cuda.is_available()):
        raise PrecisionError("common.amp=true does nothing on a CPU: fairseq's autocast is CUDA's; use fp32 or bf16")
