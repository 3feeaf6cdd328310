"""fairseq logs the whole config on one line of 10,000 characters, and the whole model on hundreds of lines.

Seen in all versions, in training and decoding. For the plugin's tasks and models, one line per section of the config
holds the values that are set. The model's record is dropped: the next lines name its class and its size. Every
checkpoint holds the whole config.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fairseq_parp.compat.scope import acting, is_our_class, is_ours

_MOST = 2_000
"""Characters of a line."""


class _Shorter(logging.Filter):
    """Shortens the config's record and drops the model's."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        from torch import nn

        found = record.msg
        if isinstance(found, nn.Module):
            return not is_ours(found)
        if isinstance(found, Namespace | Mapping | DictConfig) and (acting() or _is_for_us(found)):
            record.msg = "\n".join(_lines(_plain(found)))
            record.args = ()
        return True


def install() -> None:
    """Let the loggers of fairseq that log configs and models log them shorter."""
    for name in ("fairseq_cli.train", "fairseq_cli.generate", "fairseq.models.wav2vec.wav2vec2_asr"):
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Shorter) for each in logger.filters):
            logger.addFilter(_Shorter())


def _is_for_us(cfg: Any) -> bool:
    from fairseq.tasks import TASK_REGISTRY

    task = getattr(cfg, "task", None)
    name = task if isinstance(task, str) else getattr(task, "_name", None)
    kind = TASK_REGISTRY.get(name)
    return kind is not None and is_our_class(kind)


def _plain(cfg: Any) -> dict[str, Any]:
    if isinstance(cfg, DictConfig):
        found: Any = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
        return dict(found)
    return vars(cfg) if isinstance(cfg, Namespace) else dict(cfg)


def _lines(cfg: Mapping[str, Any]) -> list[str]:
    """Return one line per section, with the values that are not None, False or empty."""
    sections = {name: part if isinstance(part, Mapping) else {name: part} for name, part in cfg.items()}
    named = {
        name: ", ".join(f"{key}={value}" for key, value in part.items() if value not in (None, False, "", [], {}))
        for name, part in sections.items()
    }
    lines = [f"  {name}: {text}" for name, text in named.items() if text]
    return ["config, without options that are off:", *(x if len(x) <= _MOST else f"{x[:_MOST]}..." for x in lines)]
