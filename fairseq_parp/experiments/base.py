"""The fairseq config that the runs of an experiment start from, and the released scripts' changes to it."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fairseq_parp.commands.arguments import quoted
from fairseq_parp.environment.paths import configs
from fairseq_parp.errors import ConfigError, absolute, first_line
from fairseq_parp.experiments.procedures import BASELINE

FROZEN = 10_000
"""Updates for which the released scripts freeze the Transformer in every method but PARP and PARP-P."""

_TEN_MINUTES = 12_000
"""Updates of the scripts' dense ten-minute run, by which FROZEN is scaled for configs of our own."""

_FREE_FORM = ("criterion", "lr_scheduler", "model", "optimizer", "task")
"""Groups without a schema in fairseq-hydra-train: a key that the YAML lacks is appended, with a plus."""


@dataclass(frozen=True)
class BaseConfig:
    """One flat YAML that fairseq-hydra-train takes.

    Attributes:
        path: the file.
        content: its keys, interpolations unresolved; a plain mapping, as a plan looks up thousands.
        scripted: its row in ``configs/recipes.tsv``: the released scripts' numbers; empty where it has none.
    """

    path: Path
    content: Mapping[str, Any]
    scripted: Mapping[str, str]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a dotted key."""
        value: Any = self.content
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def start(self) -> str:
        """The key that names the pretrained checkpoint."""
        return "checkpoint.finetune_from_model" if self.classifies_text else "model.w2v_path"

    @property
    def classifies_text(self) -> bool:
        """Whether it is a recipe of text, which differs in its data, in its start and in how it is tested."""
        return bool(self.get("task._name") == "parp_sentence_prediction")

    @property
    def pretrains(self) -> bool:
        """Whether it is a grounded pretraining: it has no labels, may start at random, and is validated."""
        return bool(self.get("task._name") == "grounded_pretraining")

    def override(self, key: str, value: object) -> str:
        """Return ``key=value`` as hydra wants it for this file; a path may have any name."""
        group, _, leaf = key.rpartition(".")
        text = quoted(value) if isinstance(value, Path) else "null" if value is None else str(value)
        written = f"{key}={text}"
        if group.partition(".")[0] not in _FREE_FORM or leaf in self.get(group, {}):
            return written
        return f"+{written}"

    def updates(self, method: str, protocol: str) -> int:
        """Return the updates of a run: the scripts' for its method (``paper``), or the config's (``matched``)."""
        if protocol == "paper" and self.scripted:
            column = f"updates_{method}" if f"updates_{method}" in self.scripted else f"updates_{BASELINE}"
            if self.scripted[column] != "-":
                return int(self.scripted[column])
        return int(self.get("optimization.max_update", 0))

    def interval(self, method: str) -> int | None:
        """Return the re-prune interval: the scripts' for the method, where they have one, or the config's."""
        scripted = self.scripted.get(f"interval_{method}", "-")
        own = self.get("task.pruning.interval", 50)
        return int(scripted) if scripted != "-" else own

    def frozen(self, updates: int) -> int:
        """Return for how many of a baseline's updates the scripts freeze the Transformer, in proportion."""
        return round(FROZEN * updates / int(self.scripted.get("updates_dense", _TEN_MINUTES)))


def read_base(name: str, beside: Path) -> BaseConfig:
    """Read a base config.

    Args:
        name: a name in ``configs/``, such as ``base_10m``; or a path that ends in ``.yaml``.
        beside: folder that such a path may be relative to, beside the current one.

    Raises:
        ConfigError: no config has that name, or it is no YAML of a finetuning.
    """
    places = [Path(name), beside / name] if name.endswith(".yaml") else [configs() / f"{name}.yaml"]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        known = ", ".join(sorted(path.stem for path in configs().glob("*.yaml")))
        raise ConfigError("config", name, f"no such file; a path that ends in .yaml, or one of {known}")
    try:
        content = OmegaConf.load(file)
    except Exception as error:  # yaml and omegaconf have many
        raise ConfigError("config", absolute(file), f"cannot be read ({first_line(error)})") from None
    if not isinstance(content, DictConfig) or "optimization" not in content or "model" not in content:
        raise ConfigError("config", absolute(file), "must be a finetuning that fairseq-hydra-train takes")
    with (configs() / "recipes.tsv").open(encoding="utf-8") as table:
        rows = {row["config"]: row for row in csv.DictReader(table, delimiter="\t")}
    plain = cast("dict[str, Any]", OmegaConf.to_container(content))
    return BaseConfig(file.absolute(), plain, rows.get(file.stem, {}) if file.parent == configs() else {})
