"""Compares a checkpoint's labels and audio settings with those of the training or ensemble that loads it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fairseq_parp.errors import ConfigError, DictionaryError, absolute, listing

SETTINGS = ("labels", "normalize", "sample_rate")
"""Keys of the task that a model is trained for, beside its dictionary."""

SPECIALS = 4
"""Symbols that fairseq puts in front of every dictionary, but not of one of classes."""


class Trained(NamedTuple):
    """The facts of a model's training: ``symbols`` in the order of its outputs, or None; settings."""

    symbols: Sequence[str] | None
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Trained:
        """Return the settings of a checkpoint; keys that it lacks are not in ``settings``."""
        dictionary = (state.get("task_state") or {}).get("target_dictionary")
        settings = state["args"] if state.get("args") is not None else (state.get("cfg") or {}).get("task") or {}
        values = vars(settings) if isinstance(settings, Namespace) else settings
        found = {key: kind_of(values[key]) for key in SETTINGS if key in values}
        return cls(getattr(dictionary, "symbols", None), found)


def kind_of(setting: Any) -> Any:
    """Return a setting as ``audio_finetuning`` has it: HuBERT's task names the labels in a list."""
    listed = isinstance(setting, Sequence) and not isinstance(setting, str) and len(setting) == 1
    return setting[0] if listed else setting


def require_alike(asked: Trained, where: str, saved: Trained, path: str, way_out: str) -> None:
    """Compare a dictionary and settings with those of a model's training.

    Args:
        asked: the dictionary and the settings to be used.
        where: file or folder of these, for messages.
        saved: the dictionary and the settings of a checkpoint.
        path: path of the checkpoint.
        way_out: remedy for another dictionary, for the message.

    Raises:
        ConfigError: a setting differs.
        DictionaryError: the dictionaries differ in symbols or in their order.
    """
    for key, value in saved.settings.items():
        if key in asked.settings and asked.settings[key] != value:
            allowed = f"{absolute(path)} was trained with {value!r}; files that go together have the same value"
            raise ConfigError(f"task.{key}", asked.settings[key], allowed)
    if asked.symbols is None or saved.symbols is None:
        return
    if found := difference(asked.symbols, saved.symbols):
        raise DictionaryError(where, absolute(path), found, way_out)


def difference(asked: Sequence[str], saved: Sequence[str]) -> str:
    """Return how a dictionary differs from a checkpoint's, "" if it does not; lines count as in ``dict.ltr.txt``.

    >>> difference(["<s>", "<pad>", "</s>", "<unk>", "A", "B"], ["<s>", "<pad>", "</s>", "<unk>", "B", "A"])
    "the same 2 symbols in another order: line 1 is 'A', there 'B'; line 2 is 'B', there 'A'"
    """
    front = SPECIALS * (saved[:1] == asked[:1] == ["<s>"])
    added = [repr(symbol) for symbol in asked if symbol not in set(saved)]
    lacking = [repr(symbol) for symbol in saved if symbol not in set(asked)]
    if added or lacking:
        counts = f"{len(asked) - front} symbols, there {len(saved) - front}"
        return f"{counts}: it adds {listing(added) or 'none'} and lacks {listing(lacking) or 'none'}"
    moved = [
        f"line {line} is {here!r}, there {there!r}"
        for line, (here, there) in enumerate(zip(asked, saved, strict=True), start=1 - front)
        if here != there
    ]
    more = f"; and {len(moved) - 3} more" if len(moved) > 3 else ""
    order = f"the same {len(asked) - front} symbols in another order: {'; '.join(moved[:3])}{more}"
    return order if moved else ""
