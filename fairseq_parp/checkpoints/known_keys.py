"""Configs of tasks from checkpoints of another fairseq."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from omegaconf import OmegaConf, open_dict

logger = logging.getLogger(__name__)


def keep_known(task: Any) -> None:
    """Remove from a checkpoint's config of a task the keys that the task lacks here, and log them.

    fairseq 0.12.2 refuses them, later versions leave them out without a line. Both leave out those of a model.

    Args:
        task: the config, omegaconf's; changed in place. That of a task which is not registered stays as it is.
    """
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    known = TASK_DATACLASS_REGISTRY.get(task.get("_name"))
    if known is None:
        return
    with open_dict(task):
        removed = _remove_others(task, known(), "task")
    if removed:
        logger.info(f"keys that {task._name} does not have in this fairseq are left out: {', '.join(removed)}")


def _remove_others(cfg: Any, known: Any, name: str) -> list[str]:
    removed = []
    for key in list(cfg.keys()):
        inner = getattr(known, key, None)
        if key not in known.__dataclass_fields__:
            del cfg[key]
            removed.append(f"{name}.{key}")
        elif dataclasses.is_dataclass(inner) and OmegaConf.is_dict(cfg.get(key)):
            removed += _remove_others(cfg[key], inner, f"{name}.{key}")
    return removed
