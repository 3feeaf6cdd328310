"""One loss after the other: what is validated of both, and what an experiment makes of it."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf

from fairseq_parp import checkpoints
from fairseq_parp.abx.features import Layers
from fairseq_parp.commands.arguments import validate_command
from fairseq_parp.errors import ExperimentFileError
from fairseq_parp.experiments.validated import METRICS, TITLE, read_metrics


@contextlib.contextmanager
def _as_command(words: list[str]) -> Iterator[None]:
    """Run fairseq's command in this process; it replaces the handlers of the log."""
    root, argv = logging.getLogger(), sys.argv
    handlers, level = list(root.handlers), root.level
    sys.argv = words
    try:
        yield
    finally:
        sys.argv, root.handlers = argv, handlers
        root.setLevel(level)


def validated(data: Path, checkpoint: Path, log: Path) -> dict[str, float]:
    """Validate a checkpoint with fairseq's command; return the metrics as an experiment reads them."""
    from fairseq_cli import validate

    words = validate_command(
        data, checkpoint, task="grounded_pretraining", subset="valid", batch_size=5, cpu=True, plugin=tiny.PLUGIN
    )
    with _as_command(words), contextlib.redirect_stdout(io.StringIO()) as shown:
        validate.cli_main()
    log.write_text(shown.getvalue())
    return read_metrics(log, "valid")


def test_what_a_phase_does_not_train_is_measured_and_comes_back_from_the_next_one(tmp_path: Path) -> None:
    recipe: Any = OmegaConf.create(small.recipe(tmp_path))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update, recipe.model.untrained_parts = 3, True
    data, first, then = (tmp_path / name for name in ("data", "first", "then"))
    recipe.criterion.alpha = 1
    train(OmegaConf.to_container(recipe), first, method="dense")
    recipe.criterion.alpha, recipe.checkpoint.finetune_from_model = 0, str(first / "checkpoint_last.pt")
    train(OmegaConf.to_container(recipe), then, method="dense")
    before, after = (checkpoints.read(folder / "checkpoint_last.pt") for folder in (first, then))
    assert after["optimizer_history"][-1]["num_updates"] == 3
    heads = [name for name in before["model"] if name.startswith("grounded.")]
    assert heads
    assert all(torch.equal(before["model"][name], after["model"][name]) for name in heads)
    layers = Layers(then / "checkpoint_last.pt")  # what `fairseq-parp abx` compares
    assert layers.names == ["1", "2", "3"]
    assert all(bool(each.isfinite().all()) for each in layers.of(next(data.rglob("*.flac"))))
    shared = "encoder.layers.0.fc1.weight"
    assert not torch.equal(before["model"][shared], after["model"][shared])
    metrics = [validated(data, folder / "checkpoint_last.pt", tmp_path / "log") for folder in (first, then)]
    assert [set(each) for each in metrics] == [set(METRICS)] * 2
    assert all(0 <= each["accuracy"] <= 1 and 0 <= each["s2i_r1"] <= each["s2i_r10"] <= 100 for each in metrics)
    assert metrics[0]["loss_ssl"] != metrics[1]["loss_ssl"]
    assert metrics[1] == validated(data, then / "checkpoint_last.pt", tmp_path / "log")


def test_a_log_without_metrics_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"test_loss": "1"}\nended\n')
    with pytest.raises(ExperimentFileError, match="has no metrics of valid"):
        read_metrics(tmp_path / "log", "valid")


DESCRIPTION = """
config: tiny.yaml
checkpoint: null
data: data
test: [valid]
updates: 15
settings: ["+model.untrained_parts=true"]
variants:
  ssl: [criterion.alpha=0]
  vgs: ["criterion.alpha=[[0, 1], [14, 1]]"] # what depends on the length of the run holds while an update is timed
method: dense
runs:
  - {variant: vgs}
  - {variant: ssl, after: vgs, after_updates: 15}
"""


@pytest.mark.slow
def test_an_experiment_trains_one_after_the_other_and_tabulates_both_losses(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(small.recipe(tmp_path))
    (tmp_path / "try.yaml").write_text(DESCRIPTION)
    words = [sys.executable, str(tiny.PLUGIN), "experiment", "try.yaml"]
    done = subprocess.run(words, cwd=tmp_path, env=tiny.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    title, *lines = (tmp_path / "outputs" / "try" / "try.tsv").read_text().splitlines()
    assert title == TITLE
    rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [row["run"] for row in rows] == ["vgs-dense-seed1", "ssl-after-vgs-dense-seed1"]
    assert all(float(row[metric]) >= 0 for row in rows for metric in METRICS)
    assert "runs/vgs-dense-seed1/checkpoint_last.pt" in rows[1]["command"]
    assert "contrastive accuracy" in done.stdout
