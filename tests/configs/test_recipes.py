"""The shipped recipes against the released scripts' numbers, transcribed here from the method's reference tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "configs"

# name: (mask_prob, mask_channel_prob, lr, PARP updates, PARP interval, PARP-P updates, PARP-P interval)
BASE = {
    "base_10h": (0.65, 0.256, 5e-5, 20_000, 125, 12_000, 27),
    "base_1h": (0.75, 0.256, 5e-5, 15_000, 150, 15_000, 9),
    "base_10m": (0.75, 0.512, 5e-5, 12_000, 50, 12_000, 5),
}

COMMON = {
    "common.fp16": False,
    "common.seed": 2337,
    "checkpoint.best_checkpoint_metric": "wer",
    "task._name": "parp_finetuning",
    "task.labels": "ltr",
    "task.normalize": False,
    "task.pruning.method": "parp",
    "dataset.max_tokens": 3_200_000,
    "dataset.valid_subset": "dev_other",
    "criterion._name": "ctc",
    "criterion.zero_infinity": True,
    "optimization.sentence_avg": True,
    "optimization.update_freq": [2],
    "optimizer.adam_betas": "(0.9, 0.98)",
    "optimizer.adam_eps": 1e-8,
    "optimizer.weight_decay": 0.0,
    "lr_scheduler._name": "tri_stage",
    "lr_scheduler.phase_ratio": [0.1, 0.4, 0.5],
    "lr_scheduler.final_lr_scale": 0.05,
    "model._name": "parp_wav2vec_ctc",
    "model.mask_length": 10,
    "model.mask_selection": "static",
    "model.mask_channel_length": 64,
    "model.dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.activation_dropout": 0.1,
    "model.final_dropout": 0.0,
    "model.layerdrop": 0.05,
    "model.feature_grad_mult": 0.0,
    "model.freeze_finetune_updates": 0,
}


class Yaml12Floats(yaml.SafeLoader):
    """YAML as hydra reads it: 1e-08 is a number."""


Yaml12Floats.add_implicit_resolver(
    "tag:yaml.org,2002:float", __import__("re").compile(r"^[-+]?[0-9.]+(?:e[-+]?[0-9]+)?$"), list("-+0123456789.")
)


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), Loader=Yaml12Floats)  # type: ignore[no-any-return]


def value(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


@pytest.mark.parametrize("name", BASE)
def test_numbers_of_the_base_recipes(name: str) -> None:
    mask, channel, lr, updates, interval, p_updates, p_interval = BASE[name]
    config = load(CONFIGS / f"{name}.yaml")
    special = {
        "model.mask_prob": mask, "model.mask_channel_prob": channel, "optimization.lr": [lr],
        "optimization.max_update": updates, "task.pruning.interval": interval,
    }  # fmt: skip
    for key, expected in (COMMON | special).items():
        assert value(config, key) == expected, key
    header = (CONFIGS / f"{name}.yaml").read_text()
    assert (
        f"task.pruning.method=parp_p task.pruning.interval={p_interval} optimization.max_update={p_updates}" in header
    )


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_flat_and_says_how_to_run_it(path: Path) -> None:
    config, text = load(path), path.read_text()
    assert "defaults" not in config
    assert config["hydra"]["job"]["chdir"] is False
    head = text[: text.index("\n\n")]
    for word in ("# First:", "# Run:", "# Override:", f"--config-name {path.stem}"):
        assert word in head, word


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pruning_key_is_read(path: Path) -> None:
    from fairseq_parp.sparsity import PruningConfig

    task = load(path)["task"]
    if task["_name"] == "parp_finetuning":
        PruningConfig.read(task["pruning"])
