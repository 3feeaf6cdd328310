"""A training starts from a checkpoint that is whole and fits, or ends before it overwrites any."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.adapters import require_same
from fairseq_parp.compat.safe_loading import Check, checking, or_unusable
from fairseq_parp.errors import (
    CheckpointError,
    ConfigError,
    OptimizerError,
    ParpError,
    UnreadableCheckpointError,
    absolute,
)
from fairseq_parp.training.identity import batches_from
from fairseq_parp.training.saved_state import require_whole_entry
from fairseq_parp.training.settings import log_changes
from fairseq_parp.training.starting import Start, choose, limit_reached, require_something_left

_REPEAT = "repeat the original command, or continue with a new optimizer by checkpoint.reset_optimizer=true;"

logger = logging.getLogger(__name__)

_NEW_RUN = "checkpoint.finetune_from_model={path} starts a new run from its weights, in another checkpoint.save_dir"


def start(cfg: Any, trainer: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Load the checkpoint to start from, if there is one; return its extra state or None, and the batches.

    docs/training.md explains each ``reset_*``.
    """
    from fairseq import checkpoint_utils

    task, start = trainer.task, choose(cfg, trainer.checkpoint_suffix)
    task.run.start = start
    new_optimizer = start.weights_only or cfg.reset_optimizer
    if start.weights_only:
        logger.info(f"starting from {start.path}: optimizer, lr scheduler, meters, dataloader will be reset")
    extra = _load(cfg, trainer, start, new_optimizer)
    goes_on = extra is not None and not start.weights_only
    if goes_on and "best" in extra and not (cfg.reset_optimizer or cfg.reset_meters):
        checkpoint_utils.save_checkpoint.best = extra["best"]
    saved = extra[type(task).__name__] if goes_on else {}
    position = extra["train_iterator"] if goes_on and not cfg.reset_dataloader else None
    batches = batches_from(trainer, position, saved.get("data"), **options)
    if goes_on:
        _require_something_left(start, trainer, batches.next_epoch_idx - 1)
        task.set_checkpoint_dict(_without_optimizer(saved) if new_optimizer else saved)
    trainer.lr_step(batches.epoch)
    return extra, batches


def _load(cfg: Any, trainer: Any, start: Start, new_optimizer: bool) -> Any:
    def check(path: str, state: Mapping[str, Any]) -> None:
        if not start.weights_only:
            _require_resumable(path, state, type(trainer.task).__name__, new_optimizer)
        require_same(path, state, trainer.task.adapters, type(trainer.task).__name__, not start.weights_only)
        trainer.task.require_fitting(path, state)
        if not start.weights_only:  # before the optimizer, which another scope does not fit either
            trainer.task.session.require_same_run(state["extra_state"][type(trainer.task).__name__]["pruning"])

    def check_and_compare(path: str, state: Mapping[str, Any]) -> None:
        check(path, state)
        if not start.weights_only and trainer.is_data_parallel_master:
            log_changes(state["cfg"], trainer.cfg)

    def load() -> Any:
        try:
            return trainer.load_checkpoint(start.path, *resets, reset_meters=start.weights_only or cfg.reset_meters)
        except (AssertionError, ValueError) as error:
            if reason := _misfit(str(error)):
                path = absolute(start.path)
                raise OptimizerError(path, f"{reason}; {_REPEAT} {_NEW_RUN.format(path=path)}") from error
            raise

    resets = (new_optimizer, start.weights_only or cfg.reset_lr_scheduler, _overrides(cfg.optimizer_overrides))
    try:
        with checking(check_and_compare):
            return or_unusable(start.path, load)
    except UnreadableCheckpointError as error:
        raise CheckpointError(error.path, error.reason + _way_out(start, check)) from error


def _require_something_left(start: Start, trainer: Any, epochs: int) -> None:
    updates, hours = trainer.get_num_updates(), trainer._previous_training_time / 3600
    limit = limit_reached(trainer.cfg.optimization, updates, hours, epochs)
    if limit:
        require_something_left(start, limit, updates)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number; with several ranks, fairseq saves the training's time as a tensor."""
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _require_resumable(path: str, state: Mapping[str, Any], task: str, new_optimizer: bool) -> None:
    """Check that a checkpoint is complete enough to continue its run.

    Raises:
        UnreadableCheckpointError: the position in the epoch, a number or the task's entry is damaged.
        CheckpointError: the checkpoint lacks the state of the pruning or of the optimizer.
    """
    extra = state.get("extra_state") or {}
    position = extra.get("train_iterator") or {}
    for key in ("epoch", "iterations_in_epoch"):
        value = position.get(key, 0)
        if type(value) is not int or not 0 <= value < 1 << 40:
            reason = f"extra_state.train_iterator.{key}={value!r} is not a position"
            raise UnreadableCheckpointError(absolute(path), reason)
    for key in ("best", "val_loss", "previous_training_time"):
        if not _is_number(extra.get(key) or 0.0):
            raise UnreadableCheckpointError(
                absolute(path), f"damaged: extra_state.{key}={extra[key]!r} is not a number"
            )
    entry = extra.get(task) or {}
    if not isinstance(entry, Mapping) or "pruning" not in entry:
        lacks = "holds no state of a pruning to resume (crash.pt and other tasks' checkpoints never do)"
        raise CheckpointError(absolute(path), f"{lacks}; {_NEW_RUN.format(path=absolute(path))}")
    require_whole_entry(path, task, entry)
    if not new_optimizer and state.get("last_optimizer_state") is None:
        lacks = "holds no state of an optimizer to resume (checkpoint.no_save_optimizer_state leaves it out)"
        raise CheckpointError(
            absolute(path), f"{lacks}; checkpoint.reset_optimizer=true continues with a new one from update 0"
        )


def _without_optimizer(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's state for a new optimizer: updates count from 0; fp32 masters are weights, and stay."""
    optimizer = {"optimizer": {**saved["optimizer"], "scaler": {}}} if "optimizer" in saved else {}
    return {**saved, "updates": 0, "micro_batch": (-1, 0), **optimizer}


def _overrides(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        raise ConfigError("checkpoint.optimizer_overrides", text, "must be a dictionary in Python's notation") from None


def _way_out(start: Start, check: Check) -> str:
    """Name the newest checkpoint beside a damaged one that this command can start from: only the user may go back."""
    key, does = ("finetune_from_model", "starts") if start.weights_only else ("restore_file", "resumes")
    others = sorted(Path(start.path).parent.glob("checkpoint*.pt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for other in others:
        if _fits(other, check):  # the damaged one does not
            return f"; {other.name} is whole: checkpoint.{key}={absolute(other)} {does} from there"
    return "; no whole checkpoint that fits lies beside it"


def _fits(path: Path, check: Check) -> bool:
    try:
        check(str(path), checkpoints.read(path))
    except ParpError:
        return False
    return True


def _misfit(message: str) -> str:
    """Describe why the optimizer cannot load its state; "" for any other error."""
    classes = re.search(r"(\w+) does not match; .* (\w+) vs (\w+)$", message, flags=re.DOTALL)
    if classes:
        return f"its {classes[1].lower()} is {classes[2]}, that of this run {classes[3]} (another precision?)"
    if "parameter group" in message:
        return "its optimizer holds other tensors than that of this run (flat fp16 masters, or not?)"
    return ""
