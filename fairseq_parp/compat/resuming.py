"""A training starts from a checkpoint that is there, is whole and fits, or ends in one line before it overwrites any.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. ``load_checkpoint`` starts from random weights
if ``restore_file`` does not exist. It compares neither dictionary nor data with the checkpoint's. It drops a task's
saved state under ``reset_dataloader``. It ends in tracebacks that ask to be reported. 0.12.2 does not know
``set_checkpoint_dict``.
"""

from __future__ import annotations

import functools
from typing import Any

from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import one_line_errors


def install() -> None:
    """Replace ``checkpoint_utils.load_checkpoint`` for tasks that start their training themselves."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.load_checkpoint
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def load_checkpoint(cfg: Any, trainer: Any, **options: Any) -> Any:
        if not acting() or not hasattr(trainer.task, "start_from"):  # a stock task may train the plugin's model
            return original(cfg, trainer, **options)
        with one_line_errors():
            return trainer.task.start_from(cfg, trainer, options)

    load_checkpoint.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint = load_checkpoint
