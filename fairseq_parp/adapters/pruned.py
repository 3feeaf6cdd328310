"""Adapters together with pruning."""

from __future__ import annotations

import logging

from torch import nn

from fairseq_parp.adapters.config import PREFIX, AdapterConfig, Lora
from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import PruningConfig, find_parameters
from fairseq_parp.sparsity.criteria import CRITERIA
from fairseq_parp.sparsity.methods import METHODS
from fairseq_parp.sparsity.methods.static import Static

logger = logging.getLogger(__name__)


def require_prunable(model: nn.Module, config: AdapterConfig, pruning: PruningConfig) -> None:
    """Refuse a pruning that adapters would undo or that lacks gradients; warn if frozen weights are to be adjusted.

    Raises:
        ConfigError: LoRA adds to weights that are pruned; a method grows frozen weights; a criterion ranks by gradients
            that frozen weights lack.
        ScopeError: the scope finds no parameter.
    """
    if pruning.method == "dense":
        return
    scope = find_parameters(model, pruning.scope)
    pruned = next((name for name in scope if isinstance(config, Lora) and _has_lora(model, name)), None)
    if pruned is not None:
        allowed = f"adds to {pruned}, which is pruned: merged, it has no zeros; use bottleneck, or another scope"
        raise ConfigError(f"{PREFIX}.kind", config.kind, allowed)
    frozen = next((name for name, weight in scope.items() if not weight.requires_grad), None)
    method = METHODS[pruning.method]
    if frozen is not None and method.facts.grows:
        allowed = f"grows weights from zero, and {PREFIX}.kind={config.kind} freezes {frozen}, which would stay zero"
        raise ConfigError("task.pruning.method", pruning.method, f"{allowed}; use parp, gmp or mpi")
    if frozen is not None and CRITERIA[pruning.criterion].needs_gradients:
        allowed = f"ranks by gradients, and {PREFIX}.kind={config.kind} freezes {frozen}; use magnitude or random"
        raise ConfigError("task.pruning.criterion", pruning.criterion, allowed)
    if frozen is not None and not (issubclass(method, Static) or method.learns_scores):
        logger.warning(
            f"{PREFIX}.kind={config.kind} freezes {frozen}: {method.facts.label} has nothing to adjust there, and a "
            "weight that is zero stays zero, as under task.pruning.method=mpi"
        )


def _has_lora(model: nn.Module, name: str) -> bool:
    owner, _, part = name.rpartition(".")
    return part == "weight" and hasattr(model.get_submodule(owner), "lora")
