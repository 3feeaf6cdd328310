"""Chooses and checks the checkpoint that a training starts from, before anything is loaded or overwritten."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from fairseq_parp.errors import CheckpointError, ConfigError, absolute

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
"""fairseq's default of ``checkpoint.restore_file``: the last checkpoint of ``checkpoint.save_dir``, if there is one."""

RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")

_ANEW = {"max_update": "reset_optimizer", "max_epoch": "reset_dataloader", "patience": "reset_meters"}
"""The key that counts from 0 again, by the last part of a limit's key."""


class Start(NamedTuple):
    """Where a training starts.

    Attributes:
        path: path of the checkpoint; without this file the training starts from the pretrained model.
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


def require_finished(path: str, state: Mapping[str, Any]) -> None:
    """Check that the training of a last checkpoint, from whose weights a new one starts, has reached its end.

    One that may stop early (``checkpoint.patience``) has no end that a checkpoint could name.

    Raises:
        CheckpointError: it was interrupted.
    """
    history = state.get("optimizer_history")
    if Path(path).name != LAST or not history or state.get("cfg") is None:
        return
    cfg: Any = OmegaConf.create(state["cfg"])
    extra, updates = state.get("extra_state") or {}, history[-1]["num_updates"]
    hours = float(extra.get("previous_training_time") or 0) / 3600
    epochs = extra.get("train_iterator", {}).get("epoch", 1) - 1
    if cfg.checkpoint.patience > 0 or limit_reached(cfg.optimization, updates, hours, epochs):
        return
    raise CheckpointError(
        absolute(path),
        f"its training has not finished: {updates} updates, optimization.max_update={cfg.optimization.max_update}; "
        "repeat its command first, or start from checkpoint_best.pt beside it",
    )


def limit_reached(optimization: Any, updates: int, hours: float, epochs: int) -> str:
    """Return the limit of the config's group ``optimization`` that a run has reached, as key=value; "" if none.

    Args:
        optimization: the group.
        updates: made so far, as the trainer counts on from them.
        hours: trained so far, over all resumes.
        epochs: number of finished epochs.
    """
    if optimization.max_update and updates >= optimization.max_update:
        return f"optimization.max_update={optimization.max_update}"
    if 0 < optimization.stop_time_hours < hours:
        return f"optimization.stop_time_hours={optimization.stop_time_hours}"
    over = optimization.max_epoch and epochs >= optimization.max_epoch
    return f"optimization.max_epoch={optimization.max_epoch}" if over else ""


def require_something_left(start: Start, limit: str, updates: int) -> None:
    """Refuse a command with a start key that would train nothing; log it if the command is only repeated.

    Args:
        start: the requested start.
        limit: limit that the checkpoint has reached, as key=value.
        updates: number of updates of the checkpoint.

    Raises:
        ConfigError: no update is left to train.
    """
    if not start.asked:
        logger.info(
            f"the checkpoint of update {updates} has reached {limit}; nothing is left to train under that value"
        )
        return
    key = limit.partition("=")[0]
    anew = _ANEW.get(key.rpartition(".")[2])
    count = f", or count from 0 with checkpoint.{anew}=true" if anew else ""
    left = (
        f"the checkpoint of update {updates} has reached {limit}, so nothing is left to train; raise {key}{count}, "
        f"or start a new run with checkpoint.finetune_from_model={absolute(start.path)} in another save_dir"
    )
    asked = start.asked[-1]
    raise ConfigError(f"checkpoint.{asked}", True if asked in RESETS else start.path, left)


def _require_alone(cfg: Any, resets: list[str]) -> None:
    others = [*(["restore_file"] if cfg.restore_file != LAST else []), *resets]
    if others:
        allowed = f"starts a new run from weights alone, and cannot be combined with checkpoint.{others[0]}"
        raise ConfigError("checkpoint.finetune_from_model", cfg.finetune_from_model, allowed)


def _require_there(key: str, path: str, save_dir: str) -> None:
    if Path(path).is_dir():  # fairseq would start from random weights
        raise ConfigError(f"checkpoint.{key}", path, f"{absolute(path)} is a folder; name a file in it")
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
            f"{absolute(last)} exists and would be overwritten by a run from another folder; leave the key out to "
            "resume from it, or choose another checkpoint.save_dir"
        )
        raise ConfigError("checkpoint.restore_file", cfg.restore_file, allowed)
    logger.warning(f"going back to {absolute(path)}: the next checkpoint replaces {absolute(last)}")


def _exists(path: str) -> bool:
    from fairseq.file_io import PathManager

    return bool(PathManager.exists(path))
