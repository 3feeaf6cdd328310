"""A checkpoint is complete or absent, and a save that fails ends in one line.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. ``save_checkpoint`` writes one file under a
temporary name and renames it, but then copies it over ``checkpoint_best.pt`` and ``checkpoint_last.pt`` in place:
a full disk or a kill in the middle leaves half a file where the last good one was. Nothing is synced to the disk,
and a write that fails is tried three times on the same open file, with tracebacks.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import IO, Any, cast

import torch

from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import CheckpointError, absolute, one_line_errors
from fairseq_parp.files import writing_whole

logger = logging.getLogger(__name__)

UNFINISHED = ".saving.pt.tmp"
"""Ending of a checkpoint's name while it is written. The next training into the folder removes remaining files."""

CRASH = "crash.pt"


def install() -> None:
    """Replace ``checkpoint_utils.torch_persistent_save``, and ``PathManager.copy`` as ``checkpoint_utils`` sees it."""
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    original = checkpoint_utils.torch_persistent_save
    if hasattr(original, "mended_by_parp"):
        return

    def torch_persistent_save(obj: Any, filename: str, async_write: bool = False) -> None:
        if async_write or not acting() or not PathManager.supports_rename(filename):
            original(obj, filename, async_write=async_write)
        else:
            save_whole(obj, filename)

    class WholePathManager(PathManager):
        """fairseq's PathManager, but a local copy appears whole or not at all."""

        @staticmethod
        def copy(src_path: str, dst_path: str, overwrite: bool = False) -> bool:
            if not acting() or not PathManager.supports_rename(dst_path):
                return bool(PathManager.copy(src_path, dst_path, overwrite=overwrite))
            copy_whole(src_path, dst_path)
            return True

    torch_persistent_save.mended_by_parp = original  # type: ignore[attr-defined]
    checkpoint_utils.torch_persistent_save = torch_persistent_save
    checkpoint_utils.PathManager = WholePathManager


def save_whole(state: Any, path: str | Path) -> None:
    """Save a checkpoint. A failure to save crash.pt is only logged: it must not hide the reason of the crash.

    Raises:
        OneLineExit: the checkpoint cannot be written; an earlier file ``path`` is unchanged.
    """
    with one_line_errors():
        try:
            _save(state, Path(path))
        except CheckpointError as error:
            if Path(path).name != CRASH:
                raise
            logger.warning(str(error))


def _save(state: Any, path: Path) -> None:
    recorder = None
    try:
        with writing_whole(path, UNFINISHED) as file:
            recorder = _Recorder(file)
            torch.save(state, cast(IO[bytes], recorder))
    except (OSError, RuntimeError) as error:
        cause = recorder.error if recorder is not None and recorder.error is not None else error
        raise _not_saved(path, cause) from error


def copy_whole(source: str | Path, target: str | Path) -> None:
    """Copy a checkpoint.

    It makes no hard link: stock fairseq would later write into both files at once.

    Raises:
        OneLineExit: the copy cannot be written; an earlier file ``target`` is unchanged.
    """
    path = Path(target)
    with one_line_errors():
        try:
            with Path(source).open("rb") as reading, writing_whole(path, UNFINISHED) as file:
                shutil.copyfileobj(reading, file, 1 << 20)
        except OSError as error:
            raise _not_saved(path, error) from error


class _Recorder:
    """A file that remembers the cause of a failed write: torch reports only the failure."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _not_saved(path: Path, error: Exception) -> CheckpointError:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).splitlines()[0]
    return CheckpointError(absolute(path), f"cannot be saved ({reason}); the earlier checkpoints are as they were")
