"""Every training of every shipped experiment file has keys that hydra and the plugin accept."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from fairseq.dataclass.configs import FairseqConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fairseq_parp import cli
from fairseq_parp.adapters import read_adapters
from fairseq_parp.sparsity.methods import read_config

SCHEMA = OmegaConf.structured(FairseqConfig)
"""Keys that a recipe need not have: fairseq declares them."""

CONFIGS = Path(__file__).parents[2] / "configs"
WHERE = re.compile(r"(checkpoint\.|model\.w2v_path=|task\.data=|common\.(seed|user_dir)=|hydra\.run)")
"""Overrides that only name places and seeds: trainings that differ in nothing else are composed once."""


def trainings(lines: list[str]) -> dict[tuple[str, ...], str]:
    """Return a command line for each distinct training: its recipe and overrides."""
    found: dict[tuple[str, ...], str] = {}
    for line in lines:
        if line.startswith("fairseq-hydra-train "):
            words = shlex.split(line)
            recipe = words[words.index("--config-name") + 1]
            overrides = [
                word for word in words[words.index("--config-name") + 2 :] if not WHERE.match(word.lstrip("+"))
            ]
            found.setdefault((recipe, *overrides), line)
    return found


def composed(recipe: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return a recipe with the overrides, by hydra's grammar; a new key needs ``+``, as there."""
    config = OmegaConf.load(CONFIGS / f"{recipe}.yaml")
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        group, _, name = key.rpartition(".")
        known = any(name in (OmegaConf.select(one, group) or ()) for one in (config, SCHEMA))
        assert known or override.is_add(), f"{recipe} has no {key}"
        if override.is_delete():
            del OmegaConf.select(config, key.rpartition(".")[0])[key.rpartition(".")[2]]
        else:
            OmegaConf.update(config, key, override.value())
    container = OmegaConf.to_container(config)
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("file", sorted((CONFIGS / "experiments").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_training_is_accepted(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["experiment", str(file), "--dry-run", "--out", "/nowhere"]) == 0
    found = trainings(capsys.readouterr().out.splitlines())
    assert found
    for recipe, *overrides in found:
        task = composed(recipe, tuple(overrides))["task"]
        if "pruning" in task:
            method = task["pruning"]["method"]
            assert f"task.pruning.method={method}" in overrides or method == "parp"
            read_config(task["pruning"])
        else:
            assert "grounded" in recipe or "pretrain" in recipe, recipe
        if task.get("adapters"):
            read_adapters(task["adapters"])
