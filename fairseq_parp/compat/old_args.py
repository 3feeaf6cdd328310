"""Checkpoints that were finetuned before fairseq had hydra are loaded.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. ``convert_namespace_to_omegaconf`` makes each
value of the ``args`` Namespace an override of hydra's, as text.

- No key accepts ``w2v_args``, the pretrained model's Namespace inside it. Here each Namespace is converted by itself.
- A value that its key refuses today ends the conversion: None in place of a text, a removed choice, a criterion that
  is not registered. Here such a key gets fairseq's default, with a warning. Only a value that determines the model or
  the task still ends the conversion.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

_REGISTERED = ("criterion", "optimizer", "lr_scheduler")
"""Keys whose values are looked up in a registry, and which decide nothing about the model."""

logger = logging.getLogger(__name__)


def install() -> None:
    """Wrap ``convert_namespace_to_omegaconf`` as ``checkpoint_utils`` sees it."""
    from fairseq import checkpoint_utils
    from omegaconf import OmegaConf, open_dict

    original = checkpoint_utils.convert_namespace_to_omegaconf
    if hasattr(original, "mended_by_parp"):
        return

    def convert(values: dict[str, Any]) -> Any:
        while True:
            try:
                with _quiet():
                    return original(Namespace(**values))
            except Exception as error:
                group, _, key = _refused(error, values).rpartition(".")
                if key not in values or (group in ("model", "task") and values[key] is not None):
                    raise
                logger.warning(f"{key}={values[key]!r} is refused by this fairseq; its default is taken")
                values = {name: value for name, value in values.items() if name != key}

    @functools.wraps(original)
    def convert_namespace_to_omegaconf(args: Namespace) -> Any:
        inner = getattr(args, "w2v_args", None)
        if not isinstance(inner, Namespace | dict):
            return convert(vars(args))
        cfg = convert({**vars(args), "w2v_args": None})
        with open_dict(cfg):
            cfg.model = cfg.model or {}  # none where ``args`` names no architecture
            grouped = isinstance(inner, dict) and isinstance(inner.get("model"), dict)  # a config of today already
            keys = inner if isinstance(inner, dict) else vars(inner)
            cfg.model.w2v_args = keys if grouped else OmegaConf.to_container(convert(keys))
        return cfg

    convert_namespace_to_omegaconf.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.convert_namespace_to_omegaconf = convert_namespace_to_omegaconf


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep fairseq from logging all values, 20,000 characters, where one of them is refused: the error names it."""
    its = logging.getLogger("fairseq.dataclass.utils")
    before, its.disabled = its.disabled, True
    try:
        yield
    finally:
        its.disabled = before


def _refused(error: BaseException | None, values: dict[str, Any]) -> str:
    """Return the key whose value was refused, as group.key where it has a group; "" for any other error."""
    if isinstance(error, KeyError):
        return next((name for name in _REGISTERED if error.args == (values.get(name),)), "")
    while error is not None:
        if key := getattr(error, "full_key", None):
            return str(key)
        error = error.__cause__ or error.__context__
    return ""
