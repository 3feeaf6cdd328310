"""A task's run takes part in fairseq's train loop: at its start, after each update, at its end.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. ``fairseq_cli.train`` keeps the count of
``checkpoint.patience`` and the best metric on functions, for the whole process: a resume loses the count, and the next
job of a sweep inherits both. A task has no part in the end of a run. The functions wrapped here act as before for every
task without a ``run`` (:class:`fairseq_parp.training.run.Run`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fairseq import checkpoint_utils

from fairseq_parp.compat.scope import is_ours


def loops() -> list[ModuleType]:
    """Return the modules of this process that hold fairseq's train loop: one, or also the program itself."""
    modules = [sys.modules[name] for name in ("fairseq_cli.train", "__main__") if name in sys.modules]
    return [module for module in modules if {"train", "validate_and_save", "should_stop_early"} <= vars(module).keys()]


def begin() -> None:
    """Forget an earlier run of this process, and wrap the train loop. To be called before a run loads anything.

    The train loop is imported by then, as fairseq's command is; it may not be when fairseq imports the plugin.
    """
    for function in (checkpoint_utils.save_checkpoint, *(loop.should_stop_early for loop in loops())):
        for name in ("best", "num_runs"):
            vars(function).pop(name, None)
    for loop in loops():
        if not hasattr(loop.train, "followed_by_parp"):
            loop.train = _train(loop.train, loop)  # type: ignore[attr-defined]
            loop.validate_and_save = _validate_and_save(loop.validate_and_save)  # type: ignore[attr-defined]
    if not hasattr(checkpoint_utils.load_checkpoint, "followed_by_parp"):
        checkpoint_utils.load_checkpoint = _load_checkpoint(checkpoint_utils.load_checkpoint)


def _run_of(task: Any) -> Any:
    """Return the task's run; None for a task of others, which may use the name for something else."""
    run = getattr(task, "run", None)
    return run if is_ours(run) else None


def _train(original: Callable[..., Any], loop: ModuleType) -> Callable[..., Any]:
    @functools.wraps(original)
    def train(cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> Any:
        run = _run_of(task)
        if run is None:
            return original(cfg, trainer, task, epoch_itr)
        with run.guarded():
            if not run.begin_epoch(loop.should_stop_early, cfg, trainer):
                return [None], True  # the loop ends as after a last update, and so do hydra's job and sweep
            return original(cfg, trainer, task, epoch_itr)

    train.followed_by_parp = True  # type: ignore[attr-defined]
    return train


def _validate_and_save(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def validate_and_save(
        cfg: Any, trainer: Any, task: Any, epoch_itr: Any, valid_subsets: Any, end_of_epoch: bool
    ) -> Any:
        run = _run_of(task)
        if run is not None:
            run.before_saving(epoch_itr, end_of_epoch)
        losses, stop = original(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch)
        if run is not None:
            run.after_saving(losses[0], stop, end_of_epoch)
        return losses, stop

    return validate_and_save


def _load_checkpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_checkpoint(cfg: Any, trainer: Any, **options: Any) -> Any:
        run = _run_of(trainer.task)
        if run is None:
            return original(cfg, trainer, **options)
        with run.guarded():
            new = run.starts_from_weights(trainer)
            extra_state, epoch_itr = original(cfg, trainer, **options)
            if extra_state is not None:
                run.loaded(trainer, extra_state, new)
            return extra_state, epoch_itr

    load_checkpoint.followed_by_parp = True  # type: ignore[attr-defined]
    return load_checkpoint
