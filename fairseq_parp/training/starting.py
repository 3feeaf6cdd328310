"""Chooses and checks the checkpoint that a training starts from, before anything is loaded or overwritten."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

from fairseq_parp.errors import ConfigError, absolute

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
"""fairseq's default of ``checkpoint.restore_file``: the last checkpoint of ``checkpoint.save_dir``, if there is one."""

RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")


class Start(NamedTuple):
    """Where a training starts.

    Attributes:
        path: of the checkpoint; where no file is, the training starts from the pretrained model.
        weights_only: a new run starts from its weights (``finetune_from_model``); else its run continues.
        asked: keys that ask for more than to repeat the command, such as ``reset_optimizer``.
    """

    path: str
    weights_only: bool
    asked: list[str]


def choose(cfg: Any, suffix: str) -> Start:
    """Return the checkpoint to start from, as fairseq chooses it.

    Args:
        cfg: the config's group ``checkpoint``.
        suffix: the end of the names of this process's checkpoints.

    Raises:
        ConfigError: a file that is named is not there; or the start would overwrite another run's last checkpoint;
            or keys contradict each other.
    """
    resets = [key for key in RESETS if getattr(cfg, key)]
    last = f"{cfg.save_dir}/{LAST.replace('.pt', f'{suffix}.pt')}"
    if cfg.finetune_from_model is not None:
        _require_alone(cfg, resets)
    if cfg.restore_file != LAST:
        path = cfg.restore_file.replace(".pt", f"{suffix}.pt")
        _require_there("restore_file", path, cfg.save_dir)
        _require_own(cfg, path, last)
        return Start(path, False, ["restore_file", *resets])
    if _exists(last):
        return Start(last, False, resets)
    for key in ("continue_once", "finetune_from_model"):
        path = getattr(cfg, key, None)
        if path is not None:
            _require_there(key, path, cfg.save_dir)
            return Start(path, key == "finetune_from_model", resets)
    return Start(last, False, resets)


def require_something_left(start: Start, updates: int, most: int | None) -> None:
    """Refuse a command that asks for something and would train nothing; one that is only repeated may do so.

    Args:
        start: what is asked.
        updates: that the checkpoint has, as the trainer counts on from them.
        most: updates that the run is to have (``optimization.max_update``).

    Raises:
        ConfigError: nothing is left to train.
    """
    if start.asked and most and updates >= most:
        left = (
            f"the checkpoint has all {updates} updates of optimization.max_update={most}, so nothing is left to train; "
            "raise max_update, or count from 0 with checkpoint.reset_optimizer=true, "
            f"or start a new run with checkpoint.finetune_from_model={absolute(start.path)} in another save_dir"
        )
        key = start.asked[-1]
        raise ConfigError(f"checkpoint.{key}", True if key in RESETS else start.path, left)


def _require_alone(cfg: Any, resets: list[str]) -> None:
    others = [*(["restore_file"] if cfg.restore_file != LAST else []), *resets]
    if others:
        allowed = f"starts a new run from weights alone, and cannot be combined with checkpoint.{others[0]}"
        raise ConfigError("checkpoint.finetune_from_model", cfg.finetune_from_model, allowed)


def _require_there(key: str, path: str, save_dir: str) -> None:
    if _exists(path):
        return
    beside = f"{save_dir}/{path.rpartition('/')[2]}"
    hint = f"did you mean {absolute(beside)}?" if _exists(beside) else "name a file that is there, or leave the key out"
    raise ConfigError(f"checkpoint.{key}", path, f"no such file at {absolute(path)}; {hint}")


def _require_own(cfg: Any, path: str, last: str) -> None:
    """Refuse to overwrite the last checkpoint of a folder by a run that starts from another folder's."""
    if Path(path).resolve() == Path(last).resolve() or not _exists(last):
        return
    if Path(path).resolve().parent != Path(cfg.save_dir).resolve():
        allowed = (
            f"{absolute(last)} is there, and would be overwritten by a run from another folder; leave the key out to "
            "resume from it, or choose another checkpoint.save_dir"
        )
        raise ConfigError("checkpoint.restore_file", cfg.restore_file, allowed)
    logger.warning(f"going back to {absolute(path)}: the next checkpoint replaces {absolute(last)}")


def _exists(path: str) -> bool:
    from fairseq.file_io import PathManager

    return bool(PathManager.exists(path))
