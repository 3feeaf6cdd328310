"""What a task saves and restores beside the model survives a resume of the training.

Concerns: fairseq 0.12.2, whose ``save_checkpoint`` and ``load_checkpoint`` do not know ``task.get_checkpoint_dict`` and
``set_checkpoint_dict``; later ones call both themselves. Here the trainer does, in the same places.
"""

from __future__ import annotations

import functools
from typing import Any

from fairseq_parp.compat.scope import acting


def install() -> None:
    """Wrap ``Trainer.save_checkpoint`` and ``Trainer.load_checkpoint``, where fairseq does not call the hooks."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint
    if "set_checkpoint_dict" in checkpoint_utils.load_checkpoint.__code__.co_consts or hasattr(save, "mended_by_parp"):
        return

    @functools.wraps(save)
    def save_checkpoint(self: Any, filename: str, extra_state: dict[str, Any]) -> Any:
        get = getattr(self.task, "get_checkpoint_dict", dict) if acting() else dict
        return save(self, filename, {**extra_state, **get()})

    @functools.wraps(load)
    def load_checkpoint(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        extra_state = load(self, filename, *args, **kwargs)
        asked = self.cfg.checkpoint
        anew = asked.reset_dataloader or filename == asked.finetune_from_model
        saved = (extra_state or {}).get(type(self.task).__name__)
        if acting() and saved and not anew and hasattr(self.task, "set_checkpoint_dict"):
            self.task.set_checkpoint_dict(saved)
        return extra_state

    save_checkpoint.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer.save_checkpoint, Trainer.load_checkpoint = save_checkpoint, load_checkpoint
