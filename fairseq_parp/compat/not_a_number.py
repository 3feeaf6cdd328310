"""A loss that is NaN ends the run before it reaches a weight, on every rank, in one line.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. In fp32 a NaN gradient ends in a traceback that
does not name its utterances; in fp16 it passes for an overflow, and the loss scale is halved until it
is too small. One rank alone cannot stop: the others would wait for it. Therefore a task's :attr:`bad_loss` is read
after all ranks have exchanged their logging outputs, before any of them takes a step.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import LossError, one_line_errors


def install() -> None:
    """Wrap ``Trainer._aggregate_logging_outputs`` and ``Trainer.train_step``."""
    from fairseq.trainer import Trainer

    if hasattr(Trainer._aggregate_logging_outputs, "mended_by_parp"):
        return
    aggregate, step = Trainer._aggregate_logging_outputs, Trainer.train_step

    @functools.wraps(aggregate)
    def _aggregate_logging_outputs(self: Any, *args: Any, **kwargs: Any) -> Any:
        gathered = aggregate(self, *args, **kwargs)
        if acting() and self.model.training and any(math.isnan(float(log.get("loss", 0))) for log in gathered[0]):
            with one_line_errors():
                update = self.get_num_updates() + 1
                raise getattr(self.task, "bad_loss", None) or LossError(f"the loss of update {update} is NaN on a rank")
        return gathered

    @functools.wraps(step)
    def train_step(self: Any, samples: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return step(self, samples, *args, **kwargs)
        except FloatingPointError as error:
            if not acting():
                raise
            where = getattr(self.task, "utterances", str)
            # A rank that has run out of batches gets one without ids, to keep step with the others.
            ids = [number for sample in samples if sample and "id" in sample for number in sample["id"].tolist()]
            with one_line_errors():
                update = self.get_num_updates() + 1
                raise LossError(f"update {update} failed: {error}; its utterances: {where(ids)}") from error

    _aggregate_logging_outputs.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer._aggregate_logging_outputs, Trainer.train_step = _aggregate_logging_outputs, train_step
