"""Classification on two real ranks over gloo: one model and one accuracy, those of a single process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled
import other_tasks
import pytest
import texts
import tiny
from comparing import logged
from omegaconf import OmegaConf

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count

Recipe = dict[str, Any]


def utterances(folder: Path) -> Recipe:
    """Tones, in batches of which the ranks of a validation get different numbers."""
    data = labelled.make_data(folder, {"train": 12, "valid": 7})
    recipe = labelled.recipe(data, tiny.make_pretrained(folder / "pretrained.pt"), 8)
    recipe["dataset"] |= {"batch_size": 3, "required_batch_size_multiple": 1}
    recipe["model"] |= {"apply_mask": False, "layerdrop": 0.0, "dropout": 0.0}
    return recipe


def text(folder: Path) -> Recipe:
    """Texts, likewise."""
    data = texts.make_data(folder, {"train": 12, "valid": 7})
    return labelled.recipe(data, folder, 8) | {
        "task": texts.task(data),
        "dataset": {"num_workers": 0, "batch_size": 3, "required_batch_size_multiple": 1},
        "criterion": {"_name": "sentence_prediction"},
        "model": texts.MODEL | {"dropout": 0.0, "attention_dropout": 0.0},
    }


def glue(folder: Path) -> Recipe:
    """Texts, with the metrics that fairseq computes from lists of labels."""
    recipe, names = text(folder), folder / "data" / "label" / "dict.txt"
    counts = [line.split()[1] for line in names.read_text().splitlines()]
    names.write_text("".join(f"{number} {count}\n" for number, count in enumerate(counts)))
    reported = {"report_mcc": True, "report_acc_and_f1": True}
    checkpoint = recipe["checkpoint"] | {"best_checkpoint_metric": "mcc"}
    return recipe | {"criterion": {"_name": "sentence_prediction", **reported}, "checkpoint": checkpoint}


MADE: dict[str, Callable[[Path], Recipe]] = {"utterances": utterances, "texts": text, "glue": glue}

METRICS = {
    "utterances": ["accuracy", "best_accuracy", "accuracy_low", "accuracy_high"],
    "texts": ["accuracy", "best_accuracy"],
    "glue": ["accuracy", "mcc", "f1", "acc_and_f1", "best_mcc"],
}
"""What the validation of each logs."""


def trained(commands: tiny.Commands, folder: Path, recipe: Recipe, ranks: int) -> list[dict[str, str]]:
    """Train on so many ranks, two batches an update; return what the first rank logged of its validations."""
    folder.mkdir()
    own = {
        "common": recipe["common"] | {"log_format": "json"},
        "checkpoint": recipe["checkpoint"] | {"save_dir": str(folder)},
        "optimization": recipe["optimization"] | {"update_freq": [2 // ranks]},
        # Adam divides by the gradient's size: where that is only rounding, a large eps keeps it rounding.
        "optimizer": recipe["optimizer"] | {"adam_eps": 0.001},
        "task": recipe["task"] | {"pruning": {"method": "parp", "sparsity": 0.5, "interval": 2}},
        "hydra": OmegaConf.create(other_tasks.COMMON).hydra,
    }
    OmegaConf.save(OmegaConf.create(recipe | own), folder / "recipe.yaml")
    arguments = ["--config-dir", str(folder), "--config-name", "recipe"]
    every = commands.train_ranks(folder, ranks, arguments) if ranks > 1 else [commands.train(folder, arguments)]
    assert [done.status for done in every] == [0] * ranks, every[-1].err[-3000:]
    return logged(every[0].out, "valid")


@pytest.mark.parametrize("kind", MADE)
def test_two_ranks_equal_one_with_update_freq_two(commands: tiny.Commands, tmp_path: Path, kind: str) -> None:
    recipe = MADE[kind](tmp_path)
    validated = [trained(commands, tmp_path / f"ranks{ranks}", recipe, ranks) for ranks in (1, 2)]
    names = [f"valid_{name}" for name in METRICS[kind]]
    first, second = ([{name: each.get(name) for name in names} for each in logs] for logs in validated)
    assert first == second
    assert None not in first[-1].values()
    assert len(first) >= 3
    files = [tmp_path / f"ranks{ranks}" / "checkpoint_last.pt" for ranks in (1, 2)]
    single, double = (checkpoints.read(file)["model"] for file in files)
    early = checkpoints.read(next((tmp_path / "ranks1").glob("*_3.pt")))["model"]
    difference = max(float((single[name] - double[name]).abs().max()) for name in single)
    moved = max(float((tensor - early[name]).abs().max()) for name, tensor in single.items() if "fc1.weight" in name)
    print(f"largest difference of a weight: {difference:.2g}; largest move of one by training: {moved:.2g}")
    assert difference < 1e-5 < 1e-3 < moved
    counts = [report(file).prunable for file in files]
    assert [count.zeros for count in counts] == [zero_count(0.5, count.size) for count in counts]
