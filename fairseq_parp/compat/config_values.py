"""A key or value that a config class of the plugin does not take: one line, in place of the traceback of omegaconf.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. fairseq merges the config of a task, model or
criterion into its dataclass: at the start of a command, and where it builds one from a checkpoint.
"""

from __future__ import annotations

import functools
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from fairseq_parp.compat.scope import is_our_class
from fairseq_parp.errors import ConfigError, first_line, one_line_errors, unknown_key

_IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def install() -> None:
    """Wrap ``merge_with_parent``, also where fairseq's modules have imported it by name."""
    from fairseq import models, registry, tasks
    from fairseq.dataclass import utils

    original = utils.merge_with_parent
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def merge_with_parent(dc: Any, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(dc, cfg, *args, **kwargs)
        except OmegaConfBaseException as error:
            kind = dc if isinstance(dc, type) else type(dc)
            if not is_our_class(kind):
                raise
            with one_line_errors():
                raise _named(kind, cfg, error) from error

    merge_with_parent.mended_by_parp = True  # type: ignore[attr-defined]
    for module in (utils, models, registry, tasks):
        module.merge_with_parent = merge_with_parent


def _named(kind: type, cfg: Any, error: OmegaConfBaseException) -> ConfigError:
    """Return the error that names the key with its group, the value and the allowed values."""
    name = error.full_key or str(error.key)
    *outer, last = name.split(".")
    value, key = OmegaConf.select(cfg, name), ".".join(filter(None, (cfg._get_full_key(None), name)))
    for each in outer:
        kind = get_type_hints(kind)[each]
    hints = get_type_hints(kind)
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)):
        return unknown_key(key, value, last, sorted(each for each in hints if not each.startswith("_")))
    hint = hints[last.partition("[")[0]]
    inner = [each for each in get_args(hint) if each is not type(None)]
    optional = get_origin(hint) is Union and len(inner) == 1
    wanted = inner[0] if optional else hint
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        allowed = f"must be one of {', '.join(wanted.__members__)}"
    elif wanted in _IN_WORDS:
        allowed = f"must be {_IN_WORDS[wanted]}"
    else:
        return ConfigError(key, value, first_line(error))
    return ConfigError(key, value, f"{allowed}, or null" if optional else allowed)
