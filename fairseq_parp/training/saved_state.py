"""Checks the form of the run's state in a checkpoint, before a resume uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import MaskError, UnreadableCheckpointError, absolute
from fairseq_parp.training.identity import TrainingData

_KEYS: dict[str, tuple[str, ...]] = {
    "pruning": (),
    "run": (),
    "adapters": ("config",),
    "data": TrainingData._fields,
    "optimizer": ("scaler", "masters"),
}
"""The parts of a task's entry that are dictionaries, with the keys that each has. Earlier versions lack some parts."""


def require_whole_entry(path: str, task: str, entry: Mapping[str, Any]) -> None:
    """Check the types and keys of a task's saved entry.

    Args:
        path: path of the checkpoint.
        task: class name of the task, which is the entry's key in ``extra_state``.
        entry: the saved entry.

    Raises:
        UnreadableCheckpointError: a part of it has another type or lacks a key.
    """

    def require(holds: bool, key: str, form: str) -> None:
        if not holds:
            raise UnreadableCheckpointError(absolute(path), f"damaged: extra_state.{task}.{key} is not {form}")

    for key, names in _KEYS.items():
        part = entry.get(key, dict.fromkeys(names))
        form = f"a dictionary with {', '.join(names)}" if names else "a dictionary"
        require(isinstance(part, Mapping) and set(names) <= part.keys(), key, form)
    place = entry.get("micro_batch", (-1, 0))
    pair = isinstance(place, (tuple, list)) and len(place) == 2 and all(type(each) is int for each in place)
    require(pair, "micro_batch", "a pair of integers")
    require("optimizer" not in entry or isinstance(entry.get("precision"), str), "precision", "a text")
    run = entry.get("run", {})
    require("best" not in run or type(run.get("without_gain")) is int, "run.without_gain", "an integer")


def count_of_updates(entry: Mapping[str, Any]) -> int:
    """Return the updates that the run of a task's entry had made.

    Raises:
        MaskError: that is no count.
    """
    updates = entry.get("updates")
    if type(updates) is not int or updates < 0:
        raise MaskError(f"the checkpoint's pruning state is damaged (updates={updates!r})")
    return updates
