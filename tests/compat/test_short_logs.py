"""What fairseq logs of a config and a model: short for the plugin's tasks, stock for all others."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import tiny
from omegaconf import OmegaConf
from torch import nn

from fairseq_parp.compat import short_logs
from fairseq_parp.plugin import load_plugin


def test_a_training_logs_no_long_line_and_no_drawing_of_the_model(finetuned: Path) -> None:
    log = (finetuned / "log").read_text()
    assert max(map(len, log.splitlines())) < 2_100
    assert "(w2v_encoder)" not in log
    assert "model: ParpWav2VecCtc" in log
    (optimization,) = [line for line in log.splitlines() if line.startswith("  optimization: ")]
    assert "max_update=" in optimization


def test_decoding_logs_no_long_line(commands: tiny.Commands, finetuned: Path, data: Path, tmp_path: Path) -> None:
    done = commands.generate(data, finetuned / "checkpoint_last.pt", tmp_path)
    lines = (done.out + done.err).splitlines()
    assert max(map(len, lines)) < 2_100
    assert any("config, without options that are off:" in line for line in lines)


def test_an_error_stands_alone_at_the_end(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    wrong = tiny.training(tmp_path, data, pretrained, "task.pruning.sparsity=2")
    done = commands.train(tmp_path, wrong, expect=1)
    assert done.err.splitlines()[-1].startswith("fairseq_parp: task.pruning.sparsity=2")
    assert "Traceback" not in done.err
    assert len(done.out.splitlines()) < 20


@pytest.mark.parametrize("name", ["fairseq_cli.train", "fairseq_cli.generate"])
def test_other_tasks_log_as_stock_fairseq(name: str, caplog: pytest.LogCaptureFixture) -> None:
    load_plugin()
    short_logs.install()
    logger = logging.getLogger(name)
    theirs, ours = (
        OmegaConf.create({"task": {"_name": task, "data": "x"}}) for task in ("translation", "parp_finetuning")
    )
    caplog.clear()  # of what the plugin's import logged
    with caplog.at_level(logging.INFO, name):
        logger.info(theirs)
        logger.info(nn.Linear(1, 1))
        logger.info(ours)
    shown = [record.getMessage() for record in caplog.records]
    stock = "Linear(in_features=1, out_features=1, bias=True)"
    assert shown == [str(theirs), stock, "config, without options that are off:\n  task: _name=parp_finetuning, data=x"]
