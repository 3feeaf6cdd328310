"""Whether fairseq works for this plugin at the moment: most patches act only then.

fairseq imports the plugin for every task of the process. A task that is not the plugin's must meet stock fairseq, so a
patch asks :func:`acting`. The answer is yes inside the trainer's calls for the plugin's tasks and models, while those
are built, and where a command of the plugin builds a model from a checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

_acting: ContextVar[bool] = ContextVar("fairseq_parp_acting", default=False)

_PACKAGE = __name__.partition(".")[0]


def acting() -> bool:
    """Return whether fairseq works for this plugin in the current thread."""
    return _acting.get()


@contextlib.contextmanager
def act(ours: bool = True) -> Iterator[None]:
    """Let the patches act for the length of the block, if ``ours``; inside such a block they continue to act."""
    before = _acting.set(ours or acting())
    try:
        yield
    finally:
        _acting.reset(before)


def is_ours(*objects: Any) -> bool:
    """Return whether the class of any of the objects, or a class that it extends, is the plugin's."""
    return any(is_our_class(type(thing)) for thing in objects)


def is_our_class(kind: type) -> bool:
    """Return whether a class, or a class that it extends, is the plugin's."""
    return any(base.__module__.partition(".")[0] == _PACKAGE for base in kind.__mro__)


def install() -> None:
    """Wrap functions that fairseq calls with a trainer, or with a task that loads checkpoints. Call it last."""
    from fairseq import checkpoint_utils
    from fairseq.trainer import Trainer

    if hasattr(Trainer.train_step, "scoped_by_parp"):
        return
    for name in ("train_step", "valid_step", "load_checkpoint", "save_checkpoint"):
        setattr(Trainer, name, _scoped(getattr(Trainer, name), lambda trainer, *_a, **_k: trainer))
    for name in ("load_checkpoint", "save_checkpoint"):
        wrapped = _scoped(getattr(checkpoint_utils, name), lambda _cfg, trainer, *_a, **_k: trainer)
        setattr(checkpoint_utils, name, wrapped)
    load = checkpoint_utils.load_model_ensemble_and_task
    checkpoint_utils.load_model_ensemble_and_task = _scoped(load, lambda _f, _o=None, task=None, *_a, **_k: task)


def _scoped(original: Callable[..., Any], find: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function; ``find`` returns the trainer or the task among its arguments."""

    @functools.wraps(original)
    def scoped(*args: Any, **kwargs: Any) -> Any:
        found = find(*args, **kwargs)
        inside = (found.task, found.get_model()) if hasattr(found, "get_model") else (found,)
        with act(is_ours(*inside)):
            return original(*args, **kwargs)

    scoped.scoped_by_parp = True  # type: ignore[attr-defined]
    return scoped
