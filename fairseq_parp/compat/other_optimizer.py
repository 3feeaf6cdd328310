"""A checkpoint of another precision or optimizer ends a resumed run in a traceback.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09: ``Trainer.load_checkpoint`` asserts that the
optimizer has the same class, and torch that its state has the same tensors (a flat fp16 master is one).
"""

from __future__ import annotations

import functools
import re
from typing import Any

from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import OptimizerError, absolute, one_line_errors

_ADVICE = (
    "repeat the original command, or start anew from its weights: checkpoint.finetune_from_model={path} "
    "and another checkpoint.save_dir"
)


def install() -> None:
    """Wrap ``Trainer.load_checkpoint``."""
    from fairseq.trainer import Trainer

    original = Trainer.load_checkpoint
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def load_checkpoint(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return original(self, filename, *args, **kwargs)
        with one_line_errors():
            try:
                return original(self, filename, *args, **kwargs)
            except (AssertionError, ValueError) as error:
                reason = _reason(str(error))
                if reason is None:
                    raise
                path = absolute(filename)
                raise OptimizerError(path, f"{reason}; {_ADVICE.format(path=path)}") from error

    load_checkpoint.mended_by_parp = True  # type: ignore[attr-defined]
    Trainer.load_checkpoint = load_checkpoint


def _reason(message: str) -> str | None:
    """Say in words what does not fit; None for any other error."""
    classes = re.search(r"(\w+) does not match; .* (\w+) vs (\w+)$", message, flags=re.DOTALL)
    if classes:
        return f"its {classes[1].lower()} is {classes[2]}, that of this run {classes[3]} (another precision?)"
    if "parameter group" in message:
        return "its optimizer holds other tensors than that of this run (flat fp16 masters, or not?)"
    return None
