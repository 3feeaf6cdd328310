"""Checkpoints load under torch >= 2.6, and safely: no class outside a short list, and no code, is run.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1 call ``torch.load`` without a list of allowed classes; torch
>= 2.6 then refuses the ``argparse.Namespace`` and ``Dictionary`` of real checkpoints. fairseq's own main passes
``weights_only=False``, which runs any code in the file. None of them finds a changed bit, and a file that does not fit
ends in a traceback. For other tasks torch reads as it does in stock fairseq; only files that its list of classes
refuses are read here.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from fairseq_parp import checkpoints
from fairseq_parp.checkpoints.finetuned import require_described, supply_history
from fairseq_parp.checkpoints.fitting import Trained, require_alike
from fairseq_parp.compat.encoder_defaults import supply_defaults
from fairseq_parp.compat.encoders import make_buildable
from fairseq_parp.compat.scope import acting
from fairseq_parp.errors import (
    CheckpointError,
    OneLineExit,
    ParpError,
    UnreadableCheckpointError,
    absolute,
    error_of,
    first_line,
    one_line_errors,
)
from fairseq_parp.kinds import no_checkpoint

Check = Callable[[str, Mapping[str, Any]], None]
"""Raises the error of a faulty checkpoint, given its path and its content."""

_checks: list[Check] = []

_ENSEMBLE = "models of an ensemble need the same outputs: leave one of them out"


class _TorchWithSafeLoad:
    """Replaces ``torch`` inside fairseq's ``checkpoint_utils`` while it reads one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self, file: Any, *args: Any, **options: Any) -> Any:
        """Read the open file as :func:`fairseq_parp.checkpoints.read` does; for other tasks, where torch refuses it."""
        if acting():
            return supply_defaults(supply_history(checkpoints.read(file, name=self._path)))
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
    """Wrap ``load_checkpoint_to_cpu``, which loads all checkpoints of fairseq, and the users of its result."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.load_checkpoint_to_cpu
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path: str, *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return _read(path, *args, **kwargs)
        with one_line_errors():
            if "://" not in str(path) and (reason := no_checkpoint(path)):
                raise UnreadableCheckpointError(absolute(path), reason)
            state = or_unusable(path, _read, path, *args, **kwargs)
            require_described(state["cfg"], path)
            or_unusable(path, make_buildable, state)
            for check in _checks:
                check(path, state)
            return state

    def _read(path: str, *args: Any, **kwargs: Any) -> Any:
        checkpoint_utils.torch = _TorchWithSafeLoad(path)
        try:
            return original(path, *args, **kwargs)
        finally:
            checkpoint_utils.torch = torch

    load_checkpoint_to_cpu.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
    checkpoint_utils.load_model_ensemble_and_task = _ensemble(checkpoint_utils.load_model_ensemble_and_task)


@contextlib.contextmanager
def checking(check: Check) -> Iterator[None]:
    """Let ``check`` see every checkpoint that fairseq reads meanwhile, before it is used."""
    _checks.append(check)
    try:
        yield
    finally:
        _checks.remove(check)


def or_unusable(path: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call, and turn every exception into an error of the file: nothing but its content has been used yet."""
    try:
        return call(*args, **kwargs)
    except (ParpError, MemoryError):
        raise
    except OneLineExit as stop:
        raise stop.error from None
    except Exception as error:
        if (known := error_of(error)) is not None:
            raise known from None
        cause = error.__context__ if isinstance(error.__context__, Exception) else error
        raise CheckpointError(absolute(path), f"does not fit this command ({first_line(cause)})") from error


def _ensemble(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_model_ensemble_and_task(filenames: list[str], *args: Any, **kwargs: Any) -> Any:
        if not acting():
            return original(filenames, *args, **kwargs)
        first: list[tuple[str, Trained]] = []

        def check(path: str, state: Mapping[str, Any]) -> None:
            if path in filenames and state.get("task_state"):
                first.append((path, Trained.of(state)))
                require_alike(first[0][1], absolute(first[0][0]), first[-1][1], path, _ENSEMBLE)

        with one_line_errors(), checking(check):
            return or_unusable(", ".join(filenames), original, filenames, *args, **kwargs)

    return load_model_ensemble_and_task
