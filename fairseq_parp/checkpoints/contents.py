"""Checks that a loaded object is a usable fairseq checkpoint."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from fairseq_parp.checkpoints.pickles import RefusedError, expanded
from fairseq_parp.errors import listing

MAX_VALUES = 2_000_000
MAX_SETTINGS = 20_000

TEACHER = "_ema"
"""Where a pretrained data2vec keeps its teacher's weights: a mapping among the tensors, which nothing here reads."""

TEXT = "text"
"""Where a ``task_state`` keeps the tokens, labels and tokenizer of a text encoder: a mapping to texts."""

_SPECIALS = ("bos", "pad", "eos", "unk")
_OF_CLASSES = {*("symbols", "count", "indices"), *(f"{symbol}_word" for symbol in _SPECIALS)}
"""Attributes of a dictionary without fairseq's own symbols, as stock ``audio_classification`` has it."""

_DICTIONARY = {*_OF_CLASSES, "nspecial", *(f"{symbol}_index" for symbol in _SPECIALS)}

_PARTS: dict[str, type] = {"task_state": dict, "extra_state": dict, "optimizer_history": list}
"""Parts that a checkpoint may lack, with their types."""

_REFERENCE = re.compile(r"\$\{[\w.]+\}")


def require_fairseq(state: object) -> None:
    """Check the entries of a checkpoint that are read before it is compared with a model.

    Raises:
        RefusedError: it is not one; it has values that multiply without end; its dictionary is not one.
        ValueError: it is no fairseq checkpoint.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"holds a {type(state).__name__}, not a fairseq checkpoint")
    model = state.get("model")
    settings = [state.get(key) for key in ("args", "cfg") if state.get(key) is not None]
    if not isinstance(model, Mapping) or not settings:
        others = "; fairseq-parp import reads transformers' folders" if _of_transformers(state) else ""
        raise ValueError(f"not a fairseq checkpoint; it holds: {listing(state)}{others}")
    wrong = [name for name, value in _tensors(model) if not (isinstance(name, str) and _is_dense(value))]
    if wrong:
        raise ValueError(f"its model has something else than dense tensors: {listing(wrong)}")
    if not all(isinstance(part, (Mapping, Namespace)) for part in settings):
        raise ValueError("its cfg is not a mapping, or its args not a Namespace")
    for key, kind in _PARTS.items():
        if not isinstance(state.get(key) or kind(), kind):
            raise ValueError(f"damaged: its {key} is a {type(state[key]).__name__}")
    expanded(settings, MAX_SETTINGS)
    expanded([value for key, value in state.items() if key not in ("model", "args", "cfg")], MAX_VALUES)
    _require_plain_references(settings)
    for dictionary in _dictionaries(state.get("task_state")):
        _require_dictionary(dictionary)


def _tensors(model: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for name, value in model.items():
        yield from value.items() if name == TEACHER and isinstance(value, Mapping) else [(name, value)]


def _of_transformers(state: Mapping[Any, Any]) -> bool:
    """Return whether names are those of a ``pytorch_model.bin``: transformers' word for fairseq's ``self_attn``."""
    return any(".attention." in str(name) for name in state)


def _is_dense(value: object) -> bool:
    return value is None or (isinstance(value, Tensor) and value.device.type == "cpu" and not value.is_quantized)


def _require_plain_references(settings: list[Any]) -> None:
    """Allow ``${name.name}`` alone: others call functions, or double a text as often as they are nested."""
    for text in _texts(settings):
        if "${" in text and not _REFERENCE.fullmatch(text):
            raise RefusedError(f"its config has {text[:60]!r}; only a reference to one other key is allowed")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, Namespace):
        yield from _texts(vars(value))


def _dictionaries(task_state: Any) -> list[Any]:
    """Return the dictionary of a finetuning's labels, and those of a HuBERT's pretraining."""
    if not isinstance(task_state, Mapping):
        return []
    pretraining = task_state.get("dictionaries")
    return [task_state.get("target_dictionary"), *(pretraining if isinstance(pretraining, (list, tuple)) else [])]


def _require_dictionary(dictionary: Any) -> None:
    if not hasattr(dictionary, "add_symbol"):  # none, or the stand-in of a reader without fairseq
        return
    # Attributes of the file's could take the place of fairseq's methods.
    if set(vars(dictionary)) not in (_DICTIONARY, _OF_CLASSES):
        raise RefusedError("its dictionary has other attributes than fairseq's")
    symbols, indices = vars(dictionary)["symbols"], vars(dictionary)["indices"]
    whole = isinstance(symbols, list) and isinstance(indices, dict) and len(symbols) == len(indices)
    if not whole or any(type(symbol) is not str or indices.get(symbol) != i for i, symbol in enumerate(symbols)):
        raise RefusedError("its dictionary's symbols and indices do not fit together")
