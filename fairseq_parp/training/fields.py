"""The config fields that a task gains with the pruning life cycle."""
# Without "from __future__ import annotations": fairseq reads the fields' types.

from dataclasses import dataclass
from typing import Any

from omegaconf import II


@dataclass
class PruningFields:
    """``pruning``, ``adapters``, and keys of other groups that the life cycle reads; the latter are not for users."""

    # Any, not a nested dataclass: omegaconf would refuse a misspelt key inside fairseq's start-up, with a traceback.
    pruning: Any = None
    adapters: Any = None

    max_update: Any = II("optimization.max_update")
    seed: Any = II("common.seed")
    save_dir: Any = II("checkpoint.save_dir")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    cpu: bool = II("common.cpu")
    fp16_no_flatten_grads: bool = II("common.fp16_no_flatten_grads")
    memory_efficient_fp16: bool = II("common.memory_efficient_fp16")
    ddp_backend: str = II("distributed_training.ddp_backend")
    no_save_optimizer_state: bool = II("checkpoint.no_save_optimizer_state")
    store_ema: bool = II("ema.store_ema")
