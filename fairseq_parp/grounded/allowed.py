"""The check of a config's values: one line for the first that is not allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import ConfigError


def require_allowed(section: str, cfg: Any, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Check the values of a section's keys.

    Args:
        section: section of the config, such as ``model``.
        cfg: the section.
        rules: for each key a test of its value, and the rule in words. NaN fails every comparison, so it is refused.

    Raises:
        ConfigError: a value is not allowed.
    """
    for key, (fits, rule) in rules.items():
        if not fits:
            raise ConfigError(f"{section}.{key}", getattr(cfg, key), rule)
