"""The shipped recipes of text against their table, fairseq's own files and what the paper is known to say."""

from __future__ import annotations

from pathlib import Path

import fairseq
import pytest
from recipes import CONFIGS, TEXT, load, value

from fairseq_parp.commands.front import hydra_arguments

PUBLISHED = {name: row["source"].split()[1] for name, row in TEXT.items() if row["source"].startswith("fairseq ")}

NOT_TAKEN = {
    "task._name", "task.num_classes", "checkpoint.restore_file", "checkpoint.reset_optimizer",
    "checkpoint.reset_dataloader", "checkpoint.reset_meters",
}  # fmt: skip
"""Keys of fairseq's files that ours have otherwise: the number of classes is the data's, and a start is no resume."""


def test_every_task_of_glue_with_classes_is_there() -> None:
    """STS-B is a regression, WNLI has no file among fairseq's."""
    published = {Path(file).stem for file in PUBLISHED.values()}
    theirs = (Path(fairseq.__file__).parent / "examples/roberta/config/finetuning").glob("*.yaml")
    assert published == {file.stem for file in theirs} - {"sts_b"}
    assert set(TEXT) - set(PUBLISHED) == {"glue_paper"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_key_that_fairseq_publishes(name: str) -> None:
    theirs, ours = load(Path(fairseq.__file__).parent / PUBLISHED[name]), load(CONFIGS / f"{name}.yaml")
    keys = {f"{group}.{key}" for group in theirs for key in theirs[group]} - NOT_TAKEN
    assert len(keys) > 20
    for key in keys:
        assert value(ours, key) == value(theirs, key), key


def test_what_the_paper_is_known_to_say() -> None:
    config = load(CONFIGS / "glue_paper.yaml")
    paper = {
        "optimizer._name": "adam", "optimization.lr": [3e-5], "optimizer.weight_decay": 0.01, "dataset.batch_size": 32,
        "lr_scheduler._name": "polynomial_decay", "lr_scheduler.warmup_updates": 0,
    }  # fmt: skip
    assert {key: value(config, key) for key in paper} == paper
    assert "power" not in config["lr_scheduler"], "1, a linear decay, is fairseq's default"


@pytest.mark.parametrize("name", TEXT)
def test_numbers_and_header(name: str) -> None:
    row, config = TEXT[name], load(CONFIGS / f"{name}.yaml")
    text = (CONFIGS / f"{name}.yaml").read_text()
    expected = {
        "optimization.lr": [float(row["lr"])],
        "optimization.max_update": int(row["updates_parp"]),
        "task.pruning.interval": int(row["interval_parp"]),
        "task._name": "parp_sentence_prediction",
        "checkpoint.finetune_from_model": "roberta.base/model.pt",
        "checkpoint.best_checkpoint_metric": "accuracy",
        "checkpoint.maximize_best_checkpoint_metric": True,
        "checkpoint.save_dir": f"outputs/{name}",
    }
    assert {key: value(config, key) for key in expected} == expected
    assert "restore_file" not in config["checkpoint"], "a repeated command resumes"
    assert f"{int(row['weights']):,} weights" in text
    assert row["updates_dense"] == row["updates_parp"] == row["updates_parp_p"]
    assert hydra_arguments(["--config-name", name])
