"""Reads the pruning states of earlier versions. Only this module knows their keys.

Version 1 (before 0.2.0) had ``granularity`` for ``allocation``, ``displaced`` for ``stashed``, and no marker: its state
was found by the name of the task's class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import ConfigError, MaskError

MARKER = "fairseq_parp.pruning"
VERSION = 2

_KEYS = {"granularity": "allocation"}
_STATE = {"displaced": "stashed"}


def upgraded_keys(keys: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the keys of ``task.pruning`` under today's names.

    Raises:
        ConfigError: a key is there under its old and its new name.
    """
    for old, new in _KEYS.items():
        if old in keys and new in keys:
            raise ConfigError(
                f"task.pruning.{old}", keys[old], f"is the old name of {new}, which is given too; leave it out"
            )
    return {_KEYS.get(key, str(key)): value for key, value in keys.items()}


def upgraded_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's pruning state in today's form.

    Raises:
        MaskError: a newer version of this project wrote it.
    """
    version = state.get("version", 1)
    if not isinstance(version, int) or version > VERSION:
        known = f"this version reads up to {VERSION}; install the version that wrote the checkpoint"
        raise MaskError(f"the checkpoint's pruning state has version {version!r}; {known}")
    renamed = {_STATE.get(key, key): value for key, value in state.items()}
    renamed.setdefault("method", {"ramp_end": state.get("last_update")})
    if isinstance(renamed.get("config"), Mapping):
        renamed["config"] = upgraded_keys(renamed["config"])
    return renamed


def find_state(extra_state: Any) -> dict[str, Any] | None:
    """Return the state that a training of any task saved beside the model, or None.

    Args:
        extra_state: a checkpoint's ``extra_state``. A task's entry is a mapping whose ``pruning`` is the state.
    """
    if not isinstance(extra_state, Mapping):
        return None
    for name, entry in extra_state.items():
        pruning = entry.get("pruning") if isinstance(entry, Mapping) else None
        if isinstance(pruning, Mapping) and (pruning.get("marker") == MARKER or name == "ParpFinetuningTask"):
            return dict(entry)
    return None
