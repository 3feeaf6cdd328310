"""Sets the trained parameters of a new model: ``task.adapters``, and the scores of a method that learns masks."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.adapters import AdapterConfig, Trained, accept, adapt, read_adapters, require_prunable, set_trained
from fairseq_parp.sparsity import METHODS, PruningConfig

logger = logging.getLogger(__name__)


def set_up(model: Any, cfg: Any, pruning: PruningConfig) -> tuple[AdapterConfig, Trained]:
    """Insert adapters into the model, freeze the parameters that do not train, and log the counts of the others.

    Args:
        model: fairseq's model.
        cfg: the task's config.
        pruning: the run's method and keys.

    Raises:
        ConfigError: a key of ``task.adapters`` is wrong, or does not fit the model or the pruning.
    """
    adapters = read_adapters(plain(cfg.adapters))
    adapt(model, adapters, cfg.seed)
    accept(model, insert=False)
    method = METHODS[pruning.method]
    scored = method.prunable(model, pruning.scope) if method.learns_scores else ()
    trained = set_trained(model, adapters, scored)
    logger.info(f"trained ({adapters.kind}): {trained}")
    require_prunable(model, adapters, pruning)
    return adapters, trained


def plain(value: Any) -> Any:
    """Return omegaconf's containers as Python's."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
