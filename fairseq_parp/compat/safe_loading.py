"""Checkpoints load under torch >= 2.6, and safely: no class outside a short list, and no code, is run.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1 call ``torch.load`` without saying what they allow; torch
>= 2.6 then refuses the ``argparse.Namespace`` and ``Dictionary`` that real checkpoints hold. fairseq's own
main answers with ``weights_only=False``, which runs whatever the file says. None of them finds a changed bit,
and what does not fit ends in a traceback. For other tasks torch reads as it does in stock fairseq; only what its
list of classes does not have is read here.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fairseq_parp import checkpoints
from fairseq_parp.checkpoints.archives import DamagedError
from fairseq_parp.checkpoints.pickles import RefusedError
from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import CheckpointError, OneLineExit, OptimizerError, absolute, first_line, one_line_errors
from fairseq_parp.kinds import no_checkpoint


class _TorchWithSafeLoad:
    """Stands in for ``torch`` inside fairseq's ``checkpoint_utils`` while it reads one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self, file: Any, *args: Any, **options: Any) -> Any:
        """Read the open file as :func:`fairseq_parp.checkpoints.read` does; for other tasks, where torch refuses it."""
        if acting():
            return checkpoints.read(file, name=self._path)
        try:
            return torch.load(file, *args, **options)
        except pickle.UnpicklingError:
            file.seek(0)
            with contextlib.suppress(CheckpointError):
                return checkpoints.load(file, name=self._path)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def install() -> None:
    """Wrap ``load_checkpoint_to_cpu``, which all of fairseq's loading goes through, and what uses its result."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    original = checkpoint_utils.load_checkpoint_to_cpu
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path: str, *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return _read(path, *args, **kwargs)
        with one_line_errors():
            if "://" not in str(path) and (reason := no_checkpoint(path)):
                raise CheckpointError(absolute(path), reason)
            return _or_unusable(path, _read, path, *args, **kwargs)

    def _read(path: str, *args: Any, **kwargs: Any) -> Any:
        checkpoint_utils.torch = _TorchWithSafeLoad(path)
        try:
            return original(path, *args, **kwargs)
        finally:
            checkpoint_utils.torch = torch

    load_checkpoint_to_cpu.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils.load_model_ensemble_and_task = _ensemble(checkpoint_utils.load_model_ensemble_and_task)
    Trainer.load_checkpoint = _resuming(Trainer.load_checkpoint)


def _or_unusable(path: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call; whatever fails there fails for what the file holds, as nothing else has been done yet."""
    try:
        return call(*args, **kwargs)
    except (CheckpointError, MemoryError):
        raise
    except OneLineExit as stop:
        raise stop.error from None
    except Exception as error:
        cause = error.__context__ if isinstance(error.__context__, Exception) else error
        raise CheckpointError(absolute(path), f"does not fit this command ({first_line(cause)})") from error


def _ensemble(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_model_ensemble_and_task(filenames: list[str], *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return original(filenames, *args, **kwargs)
        with one_line_errors():
            return _or_unusable(", ".join(filenames), original, filenames, *args, **kwargs)

    return load_model_ensemble_and_task


def _resuming(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_checkpoint(trainer: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return original(trainer, filename, *args, **kwargs)
        with one_line_errors():
            try:
                extra = _or_unusable(filename, original, trainer, filename, *args, **kwargs)
                _require_position(filename, extra)
            except OptimizerError:  # no older checkpoint would fit better
                raise
            except CheckpointError as error:
                raise CheckpointError(error.path, error.reason + _way_out(Path(error.path))) from error
            return extra

    return load_checkpoint


def _require_position(filename: str, extra: Any) -> None:
    position = extra["train_iterator"] if extra is not None else {}
    for key in ("epoch", "iterations_in_epoch"):
        value = position.get(key, 0)
        if type(value) is not int or not 0 <= value < 1 << 40:
            raise CheckpointError(absolute(filename), f"extra_state.train_iterator.{key}={value!r} is no position")


def _way_out(damaged: Path) -> str:
    """Name the newest whole checkpoint beside a damaged one, and how to resume from it: only the user may go back."""
    others = sorted(damaged.parent.glob("checkpoint*.pt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for other in others:
        if other != damaged and _is_whole(other):
            return f"; {other.name} is whole: checkpoint.restore_file={absolute(other)} resumes from there"
    return "; no whole checkpoint lies beside it"


def _is_whole(path: Path) -> bool:
    try:
        checkpoints.require_whole(path)
    except (OSError, DamagedError, RefusedError, ValueError, EOFError):
        return False
    return True
