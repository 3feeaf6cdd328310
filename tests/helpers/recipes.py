"""The shipped recipes, read as hydra reads them."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parents[2] / "configs"

with (CONFIGS / "recipes.tsv").open() as table:
    EVERY = {row["config"]: row for row in csv.DictReader(table, delimiter="\t")}

RECIPES = {name: row for name, row in EVERY.items() if row["labels"] not in ("-", "label")}
"""Of recognition."""

CLASSES = {name: row for name, row in EVERY.items() if row["labels"] == "label"}
"""Of classes of utterances."""

TEXT = {name: row for name, row in EVERY.items() if row["labels"] == "-"}
"""Of text."""


class Yaml12Floats(yaml.SafeLoader):
    """YAML as hydra reads it: 1e-08 is a number."""


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), Loader=Yaml12Floats)  # type: ignore[no-any-return]


def value(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


_OVERRIDE = re.compile(r"(?<![\w.+=-])([a-z_]+(?:\.[a-z_0-9]+)+)=")


def refused(text: str, config: dict[str, Any]) -> list[str]:
    """Return keys of the overrides in a text that hydra refuses: a key that the config lacks needs a plus."""
    return [key for key in _OVERRIDE.findall(text) if not key.startswith("hydra.") and not _has(config, key)]


def _has(config: dict[str, Any], key: str) -> bool:
    try:
        value(config, key)
    except (KeyError, TypeError):
        return False
    return True
