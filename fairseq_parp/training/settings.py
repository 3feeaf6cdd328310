"""Finds the settings of a resumed run that may differ from its checkpoint, and do, for a warning."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.errors import listing

logger = logging.getLogger(__name__)

_GROUPS = ("task", "model", "criterion", "optimizer", "lr_scheduler", "optimization", "dataset")

_SINGLE = (("common", "seed"), ("distributed_training", "distributed_world_size"))
"""Keys of other groups. The number of ranks decides how many utterances an update has."""

_SAME_RUN = {"data", "w2v_path", "w2v_args", "num_workers", "data_buffer_size"}
"""Keys that change no number of a run: places of files, which may move, and how data are read."""


def log_changes(saved: Any, present: Any) -> None:
    """Log a warning with every setting that influences the training and that a resume changes.

    Args:
        saved: config of the checkpoint.
        present: config of the command.
    """
    before, now = _settings(saved), _settings(present)
    changed = [f"{key}={now[key]}, was {before[key]}" for key in now if key in before and before[key] != now[key]]
    if changed:
        logger.warning(f"the run continues with other settings: {listing(changed, most=10)}")


def _settings(cfg: Any) -> dict[str, Any]:
    """Return the settings by group.key, without those that repeat another one (``${group.key}``)."""
    found: dict[str, Any] = {}
    for name in _GROUPS:
        group: Any = cfg.get(name)
        plain: Any = OmegaConf.to_container(group, resolve=False) if OmegaConf.is_dict(group) else {}
        found |= {f"{name}.{key}": value for key, value in plain.items() if key not in _SAME_RUN}
    found |= {f"{group}.{key}": cfg[group][key] for group, key in _SINGLE if key in (cfg.get(group) or {})}
    return {key: value for key, value in found.items() if not str(value).startswith("${")}
