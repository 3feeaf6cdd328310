"""One training from its start to any of its ends: the state that a resume restores, and the report at the end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils

from fairseq_parp.errors import one_line_errors
from fairseq_parp.sparsity import PruningSession
from fairseq_parp.training.folder import releasing
from fairseq_parp.training.starting import Start, limit_reached, require_something_left

logger = logging.getLogger(__name__)

_COUNTERS = ("num_bad_epochs", "cooldown_counter", "last_epoch")
"""Counts of torch's ReduceLROnPlateau, which fairseq's ``reduce_lr_on_plateau`` loses in a resume."""


class Run:
    """Follows fairseq's train loop for one task; :mod:`fairseq_parp.compat.train_loop` calls it.

    Attributes:
        session: the pruning session; None before the model is built.
        start: the checkpoint that the training started from; None before it is chosen.
    """

    def __init__(self) -> None:
        self.session: PruningSession | None = None
        self.start: Start | None = None
        self._cfg: Any = None
        self._trainer: Any = None
        self._early: Any = None
        self._batches: Any = None
        self._saved: Mapping[str, Any] = {}
        self._scored: tuple[int, Any] = (0, None)
        self._reason = ""
        self._stepped = False
        self._written: tuple[int, str] | None = None

    # --- start and resume -------------------------------------------------------------------------------------

    @staticmethod
    def starts_from_weights(trainer: Any) -> bool:
        """Return whether this is a new run from another checkpoint's weights (``checkpoint.finetune_from_model``)."""
        cfg = trainer.cfg.checkpoint
        last = Path(cfg.save_dir, f"checkpoint_last{trainer.checkpoint_suffix}.pt")
        return cfg.finetune_from_model is not None and not last.exists()

    def loaded(self, trainer: Any, extra_state: Mapping[str, Any], new: bool) -> None:
        """Store the loaded checkpoint's state of this run; a new run has none."""
        cfg = trainer.cfg.checkpoint
        if new:
            trainer._previous_training_time = 0  # fairseq would count the other run's hours for this one's limit
        if new or cfg.reset_optimizer:
            return
        saved = (extra_state.get(type(trainer.task).__name__) or {}).get("run") or {}
        if cfg.reset_meters:  # the best value and the patience start anew, the schedule's counts do not
            saved = {key: saved[key] for key in ("lr_scheduler", "stepped") if key in saved}
        if other := _other_judge(saved, trainer.cfg, trainer.task):
            logger.warning(f"{other}: best value and patience start anew, and so does the reference of a plateau")
            vars(checkpoint_utils.save_checkpoint).pop("best", None)
            plateau = _torch_scheduler(trainer)
            if hasattr(plateau, "_reset"):  # torch's; it compares scores, as the best value does
                plateau._reset()
            return
        self._saved = saved
        position = extra_state["train_iterator"]
        if position.get("iterations_in_epoch") == 0 and not saved.get("stepped"):
            self._scored = position["epoch"] - 1, extra_state.get("val_loss")

    @staticmethod
    def guarded() -> contextlib.AbstractContextManager[None]:
        """Return a block around a part of the run: an exception in it ends the run, and frees its folder."""
        return releasing()

    def begin_epoch(self, early: Any, cfg: Any, trainer: Any) -> bool:
        """Restore the state that was lost with the earlier process, at the first epoch. Return whether updates remain.

        Args:
            early: fairseq's ``should_stop_early``, whose attributes are the count of ``checkpoint.patience``.
            cfg: the config of the training.
            trainer: fairseq's trainer, which has loaded its checkpoint.
        """
        if self._trainer is None:
            self._cfg, self._trainer, self._early = cfg, trainer, early
            self._restore()
            self._follow()
        # The hours until the checkpoint, as every rank has the same ones.
        reason = self._limit(trainer._previous_training_time / 3600) or self._patience()
        if reason.startswith("checkpoint.") and self.start is not None:  # the start has compared the other limits
            with one_line_errors():
                require_something_left(self.start, reason, trainer.get_num_updates())
        return not reason

    def _restore(self) -> None:
        if "best" in self._saved:
            self._early.best, self._early.num_runs = self._saved["best"], self._saved["without_gain"]
        if self._cfg.checkpoint.reset_lr_scheduler:
            return
        scheduler = _torch_scheduler(self._trainer)
        for name, value in self._saved.get("lr_scheduler", {}).items():
            if hasattr(scheduler, name):  # the schedule may be another one
                setattr(scheduler, name, value)
        if self._scored[1] is not None:
            # fairseq saves the last checkpoint of an epoch before the scheduler gets the epoch's score.
            self._trainer.lr_step(*self._scored)

    def _follow(self) -> None:
        """Record the written checkpoints, and the learning rate after an epoch."""
        trainer, stop_at = self._trainer, self._cfg.optimization.stop_min_lr
        save, step = trainer.save_checkpoint, trainer.lr_step

        def save_checkpoint(filename: str, extra_state: Any) -> Any:
            done = save(filename, extra_state)
            self._written = (trainer.get_num_updates(), filename)
            return done

        def lr_step(epoch: int, val_loss: Any = None) -> Any:
            rate = step(epoch, val_loss)
            if not self._reason and rate <= stop_at:  # an epoch is over; the train loop reads the rate next
                self._stepped = True
                self._end(f"optimization.stop_min_lr={stop_at}", val_loss, saved=self._interval_saves(True))
            return rate

        trainer.save_checkpoint, trainer.lr_step = save_checkpoint, lr_step

    # --- after each update, and the end -----------------------------------------------------------------------

    def before_saving(self, batches: Any, end_of_epoch: bool) -> None:
        """Note why the run ends after this update, if a limit ends it, before a checkpoint is saved."""
        self._batches = batches
        epochs = batches.epoch if end_of_epoch else batches.epoch - 1
        self._reason = self._limit(self._trainer.cumulative_training_time() / 3600, epochs)

    def after_saving(self, score: Any, stop: bool, end_of_epoch: bool) -> None:
        """End the run if the train loop ends.

        Args:
            score: score of the validation after this update, or None.
            stop: whether the train loop stops here by itself, having saved.
            end_of_epoch: whether the epoch is over.
        """
        if stop or self._reason:
            reason = self._reason or self._patience() or "optimization.stop_time_hours"
            self._end(reason, score, saved=stop or self._interval_saves(end_of_epoch))

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed run and a report: plain values only."""
        state: dict[str, Any] = {"ended": self._reason or self._patience() or None, **self._sparsities()}
        if hasattr(self._early, "best"):
            state |= {"best": self._early.best, "without_gain": self._early.num_runs}
        if self._trainer is not None:
            state |= _judge(self._cfg, self._trainer.task)
        scheduler = _torch_scheduler(self._trainer)
        counters = {name: getattr(scheduler, name) for name in _COUNTERS if hasattr(scheduler, name)}
        if counters:
            state["lr_scheduler"] = counters
        if self._stepped:
            state["stepped"] = True
        return state

    def _end(self, reason: str, score: Any, saved: bool) -> None:
        self._reason = reason
        if not saved:
            checkpoint_utils.save_checkpoint(self._cfg.checkpoint, self._trainer, self._batches, score)
        if not self._trainer.is_data_parallel_master:
            return
        updates, sparsity = self._trainer.get_num_updates(), self._sparsities()
        head = f"the run ended after update {updates} by {reason}"
        if self.session is None or self.session.target == self.session.method.schedule.end:
            logger.info(f"{head}: sparsity {sparsity['reached']:.6g} of {sparsity['asked']:.6g} asked")
        else:
            logger.warning(
                f"{head}, before the sparsity's ramp: its checkpoints reach {sparsity['reached']:.4f} of the "
                f"{sparsity['asked']:.6g} asked; change that value and repeat the command to continue"
            )
        if self._written is None or self._written[0] != updates:
            newest = "this run has written no checkpoint"
            if self._written is not None:
                newest = f"the newest checkpoint is {self._written[1]} of update {self._written[0]}"
            key = "no_save" if self._cfg.checkpoint.no_save else "no_last_checkpoints"
            logger.warning(f"the weights of update {updates} are not saved (checkpoint.{key}=true): {newest}")

    def _sparsities(self) -> dict[str, float]:
        if self.session is None:
            return {"reached": 0.0, "asked": 0.0}
        return {"reached": self.session.sparsity, "asked": float(self.session.method.schedule.end)}

    def _limit(self, hours: float, epochs: int = 0) -> str:
        return limit_reached(self._cfg.optimization, self._trainer.get_num_updates(), hours, epochs)

    def _patience(self) -> str:
        patience = 0 if self._cfg is None else self._cfg.checkpoint.patience
        return f"checkpoint.patience={patience}" if 0 < patience <= getattr(self._early, "num_runs", 0) else ""

    def _interval_saves(self, end_of_epoch: bool) -> bool:
        """Return whether fairseq has saved after this update for its intervals alone."""
        cfg, updates = self._cfg.checkpoint, self._trainer.get_num_updates()
        every = cfg.save_interval_updates
        by_updates = every > 0 and updates % every == 0 and updates >= self._cfg.dataset.validate_after_updates
        return by_updates or (end_of_epoch and self._batches.epoch % cfg.save_interval == 0)


def _torch_scheduler(trainer: Any) -> Any:
    """Return the torch scheduler inside fairseq's, as ``reduce_lr_on_plateau`` has one; None for any other."""
    return getattr(getattr(trainer, "lr_scheduler", None), "lr_scheduler", None)


def _judge(cfg: Any, task: Any) -> dict[str, str | None]:
    """Return the identity of scores: the metric in words, and a digest of the validation set, or None."""
    best = "largest" if cfg.checkpoint.maximize_best_checkpoint_metric else "smallest"
    validated = task.datasets.get(cfg.dataset.valid_subset.split(",")[0])
    metric = f"the {best} {cfg.checkpoint.best_checkpoint_metric}"
    return {"metric": metric, "validated": getattr(validated, "digest", None)}


def _other_judge(saved: Mapping[str, Any], cfg: Any, task: Any) -> str:
    """Describe how scores of a checkpoint's run differ from those to come; "" if they can be compared."""
    now = _judge(cfg, task)
    was = {key: saved.get(key) for key in now}
    if was["metric"] not in (None, now["metric"]):
        return f"{now['metric']} decides from here on, {was['metric']} did before"
    other = None not in (was["validated"], now["validated"]) and was["validated"] != now["validated"]
    return "other utterances are validated from here on" if other else ""
