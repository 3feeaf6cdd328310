"""The shipped recipes against the one table of their numbers, and against what they all share."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes import CLASSES, CONFIGS, RECIPES, Yaml12Floats, load, refused, value

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.methods import METHODS, read_config

COMMON = {
    "common.fp16": False,
    "common.seed": 2337,
    "task._name": "parp_finetuning",
    "task.pruning.method": "parp",
    "criterion._name": "ctc",
    "criterion.zero_infinity": True,
    "optimization.sentence_avg": True,
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
    "model.feature_grad_mult": 0.0,
    "model.freeze_finetune_updates": 0,
}


HUBERT = {
    "model._name": "parp_hubert_ctc",
    "lr_scheduler.warmup_steps": 8000,
    "lr_scheduler.hold_steps": 0,
    "lr_scheduler.decay_steps": 72000,
}
"""What HuBERT's recipes have otherwise: fairseq's published finetuning counts the schedule in updates."""

OTHER_ENCODERS = {"hubert_base_10m", "hubert_base_1h", "hubert_base_10h", "hubert_large_10h", "data2vec_base_10m",
                  "data2vec_base_10h"}  # fmt: skip

SPLITS = {
    "10m": "10 minutes", "1h": "1 hour", "10h": "10 hours",
    "phones": "1 hour, one language", "joint": "10 hours, ten languages",
}  # fmt: skip


Yaml12Floats.add_implicit_resolver(
    "tag:yaml.org,2002:float", __import__("re").compile(r"^[-+]?[0-9][0-9.]*(?:e[-+]?[0-9]+)?$"), list("-+0123456789.")
)


def test_the_table_has_every_recipe_of_the_paper() -> None:
    letters = {f"{model}_{split}" for model in ("base", "large", "xlsr") for split in ("10m", "1h", "10h")}
    assert set(RECIPES) == letters | {"xlsr_phones", "xlsr_phones_joint"} | OTHER_ENCODERS


@pytest.mark.parametrize("name", RECIPES)
def test_numbers_of_the_recipes(name: str) -> None:
    row = RECIPES[name]
    config = load(CONFIGS / f"{name}.yaml")
    special = {
        "task.labels": row["labels"],
        "task.normalize": {"true": True, "false": False}[row["normalize"]],
        "task.pruning.interval": int(row["interval_parp"]),
        "dataset.valid_subset": row["valid_subset"],
        "dataset.max_tokens": int(row["max_tokens"]),
        "checkpoint.best_checkpoint_metric": "wer" if row["labels"] == "ltr" else "uer",
        "checkpoint.save_dir": f"outputs/{name}",
        "optimization.lr": [float(row["lr"])],
        "optimization.max_update": int(row["updates_parp"]),
        "optimization.update_freq": [int(row["update_freq"])],
        "model.mask_prob": float(row["mask_prob"]),
        "model.mask_channel_prob": float(row["mask_channel_prob"]),
        "model.layerdrop": float(row["layerdrop"]),
    }
    common = {key: expected for key, expected in COMMON.items() if key != "lr_scheduler.phase_ratio"} | HUBERT
    for key, expected in ((common if name.startswith("hubert") else COMMON) | special).items():
        assert value(config, key) == expected, key


PUBLISHED = {name: row["source"].split()[1] for name, row in RECIPES.items() if row["source"].startswith("fairseq ")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_that_fairseq_publishes(name: str) -> None:
    """The file that the row names, in the installed fairseq."""
    import fairseq

    theirs = load(Path(fairseq.__file__).parent / PUBLISHED[name])
    ours = load(CONFIGS / f"{name}.yaml")
    keys = [f"{group}.{key}" for group in ("optimization", "lr_scheduler", "model") for key in theirs[group]]
    others = ("model._name", "model.w2v_path", "model.freeze_finetune_updates", "model.mask_other",
              "model.mask_channel_other")  # fmt: skip
    for key in ["dataset.max_tokens", *[key for key in keys if key not in others]]:
        assert value(ours, key) == value(theirs, key), key


@pytest.mark.parametrize("name", RECIPES)
def test_the_split_is_the_one_that_the_name_and_the_header_say(name: str) -> None:
    split = RECIPES[name]["split"]
    assert split == SPLITS[name.rpartition("_")[2]]
    head = (CONFIGS / f"{name}.yaml").read_text().partition("\n\n")[0]
    assert "phones" in name or f"Libri-light's {split} of labelled speech" in head


@pytest.mark.parametrize("name", RECIPES)
def test_overrides_in_the_headers(name: str) -> None:
    row = RECIPES[name]
    text = (CONFIGS / f"{name}.yaml").read_text()
    head = text[: text.index("\n\n")]
    parp_p = f"parp_p task.pruning.interval={row['interval_parp_p']} optimization.max_update={row['updates_parp_p']}"
    assert (parp_p in head) == (row["interval_parp_p"] != "-")
    dense = f"method=dense optimization.lr=[0.0005] optimization.max_update={row['updates_dense']}"
    other = f"method=dense optimization.max_update={row['updates_dense']}"
    same = row["updates_dense"] == row["updates_parp"]
    assert (dense if name.endswith("joint") else "method=dense;" if same else other) in head
    assert f"optimization.update_freq=[{int(row['update_freq']) * int(row['gpus'])}] on one GPU" in head
    assert f"model.w2v_path={row['checkpoint']}" in head
    assert f"{int(row['weights']):,} weights" in text
    assert f"{int(row['max_tokens']) / 16000:g} seconds" in text


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_flat_and_says_how_to_run_it(path: Path) -> None:
    config, text = load(path), path.read_text()
    assert "defaults" not in config
    assert config["hydra"]["run"]["dir"] == "."
    head = text[: text.index("\n\n")]
    for word in ("# First:", "# Run:", "# Override:", f"--config-name {path.stem}"):
        assert word in head, word


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_pruning_key_is_read(path: Path) -> None:
    from fairseq_parp.sparsity import read_config
    from fairseq_parp.sparsity.upgrade import upgraded_keys

    task = load(path)["task"]
    if "pruning" in task:
        read_config(task["pruning"])
        assert upgraded_keys(task["pruning"]) == task["pruning"]  # old keys are for old files


KEYS = {path.stem: (load(path).get("task") or {}).get("pruning") or {} for path in sorted(CONFIGS.glob("*.yaml"))}


@pytest.mark.parametrize("recipe", [name for name, keys in KEYS.items() if keys.get("method") == "parp"])
def test_a_recipe_of_parp_takes_every_method_by_its_name_alone(recipe: str) -> None:
    for method in METHODS:
        needed = {"mask": "mask.pt"} if method == "fixed" else {}
        assert read_config({**KEYS[recipe], **needed, "method": method}).method == method


def test_null_is_no_value_of_a_key_that_every_method_needs() -> None:
    with pytest.raises(ConfigError, match=r"task\.pruning\.sparsity=None: must be a number"):
        read_config({"method": "gmp", "sparsity": None})


@pytest.mark.parametrize("recipe", KEYS)
def test_hydra_takes_the_overrides_in_the_head(recipe: str) -> None:
    text = (CONFIGS / f"{recipe}.yaml").read_text()
    assert refused(text.partition("\n\n")[0], load(CONFIGS / f"{recipe}.yaml")) == []


SUPERB = {
    "optimization.max_update": 200_000,
    "optimization.lr": [1e-4],
    "optimization.clip_norm": 1.0,
    "optimizer._name": "adam",
    "lr_scheduler._name": "fixed",
    "checkpoint.save_interval_updates": 4000,
    "dataset.validate_interval_updates": 4000,
    "model.latent_embed_dim": 256,
    "model.pooling": "mean",
    "model.apply_mask": False,
}
"""What both of SUPERB's utterance-level configs have (s3prl, downstream/speech_commands and downstream/voxceleb1)."""


BATCHES = {"superb_ks": (32, 1), "superb_sid": (8, 4)}
"""Utterances in a batch, and batches of an update."""


@pytest.mark.parametrize("name", BATCHES)
def test_numbers_of_superb_and_their_labels(name: str) -> None:
    """Every value of SUPERB's is labelled so, and the table has the numbers of the recipe."""
    config, lines = load(CONFIGS / f"{name}.yaml"), (CONFIGS / f"{name}.yaml").read_text().splitlines()
    row, (batch, accumulated) = CLASSES[name], BATCHES[name]
    assert row["source"].startswith("SUPERB")
    assert (float(row["lr"]), int(row["updates_parp"]), int(row["update_freq"])) == (1e-4, 200_000, accumulated)
    table = {
        "task.labels": row["labels"],
        "task.normalize": row["normalize"] == "true",
        "task.pruning.interval": int(row["interval_parp"]),
        "dataset.valid_subset": row["valid_subset"],
        "model.layerdrop": float(row["layerdrop"]),
        "checkpoint.save_dir": f"outputs/{name}",
    }
    assert {key: value(config, key) for key in table} == table
    assert f"{int(row['weights']):,} weights" in "\n".join(lines)
    assert f"model.w2v_path={row['checkpoint']}" in "\n".join(lines)
    expected = SUPERB | {"dataset.batch_size": batch}
    assert config["optimization"].get("update_freq", [1]) == [accumulated]
    for key, number in expected.items():
        assert value(config, key) == number, key
        leaf = key.rpartition(".")[2]
        assert any(f" {leaf}:" in line and "# SUPERB" in line for line in lines) or leaf == "_name", key
    for line in lines:
        if line.lstrip().startswith(("method:", "sparsity:", "interval:", "feature_grad_mult:")):
            assert "# ours" in line, line
