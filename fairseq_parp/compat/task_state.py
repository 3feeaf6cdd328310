"""A task's own state is saved in the checkpoint, beside the model.

Concerns: fairseq 0.12.2, whose ``save_checkpoint`` does not know ``task.get_checkpoint_dict``; later ones call it
themselves. Here the trainer calls it. :mod:`~fairseq_parp.training.resuming` restores the state.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from fairseq_parp.compat.scope import acting


def install() -> None:
    """Wrap ``Trainer.save_checkpoint``, where fairseq does not call the hook."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    save = Trainer.save_checkpoint
    known = inspect.unwrap(checkpoint_utils.save_checkpoint).__code__
    if "get_checkpoint_dict" in (*known.co_consts, *known.co_names) or hasattr(save, "mended_by_parp"):
        return

    @functools.wraps(save)
    def save_checkpoint(self: Any, filename: str, extra_state: dict[str, Any]) -> Any:
        get = getattr(self.task, "get_checkpoint_dict", dict) if acting() else dict
        return save(self, filename, {**extra_state, **get()})

    save_checkpoint.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer.save_checkpoint = save_checkpoint
