"""A folder for checkpoints that cannot be written to ends the training in one line; fairseq's own ends in a traceback.

All versions: ``verify_checkpoint_directory`` raises the OSError that it met.
"""

from __future__ import annotations

import functools
from pathlib import Path

from fairseq_parp.errors import ConfigError, absolute, one_line_errors


def install() -> None:
    """Word the error anew."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.verify_checkpoint_directory
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def verify_checkpoint_directory(save_dir: str) -> None:
        with one_line_errors():
            try:
                original(save_dir)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and Path(save_dir).is_dir():
                    return  # a training that starts beside it has removed the file "dummy" that both write
                reason = f"cannot be written to ({error.strerror or error}); name another folder"
                raise ConfigError("checkpoint.save_dir", absolute(save_dir), reason) from error

    verify_checkpoint_directory.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.verify_checkpoint_directory = verify_checkpoint_directory
