"""Sweeps of hydra (``-m``): every job runs, whatever the others do, and inherits nothing from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.report import report

SHORT = ["optimization.update_freq=[1]", "checkpoint.best_checkpoint_metric=loss", "dataset.num_workers=0"]


def sweep(save: Path, data: Path, pretrained: Path, *keys: str) -> list[str]:
    return ["-m", *tiny.training(save / "${hydra:job.num}", data, pretrained, *SHORT, *keys)]


def lines(done: tiny.Done) -> list[str]:
    """Return the error lines of the plugin on standard error; hydra puts its own before and after them."""
    return [line for line in done.err.splitlines() if line.startswith("fairseq_parp: ")]


def test_every_job_of_a_sweep_runs_beside_finished_ones(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["optimization.max_update=4", "checkpoint.patience=9"]
    commands.train(tmp_path, sweep(tmp_path, data, pretrained, *keys, "optimization.lr=[0.01],[1e-9]"))
    # Neither the best loss nor its log is inherited from the job before.
    for job in ("0", "1"):
        extra = checkpoints.read(tmp_path / job / "checkpoint_best.pt")["extra_state"]
        assert extra["best"] == extra["val_loss"] == extra["ParpFinetuningTask"]["run"]["best"]
        log = (tmp_path / job / "train.log").read_text()
        assert log.count("the run ended after update 4") == 1
    before = (tmp_path / "0" / "checkpoint_last.pt").read_bytes()
    done = commands.train(tmp_path, sweep(tmp_path, data, pretrained, *keys, "optimization.lr=[0.01],[1e-9],[0.005]"))
    assert done.out.count("the checkpoint of update 4 has reached optimization.max_update=4; nothing is left") == 2
    assert (tmp_path / "0" / "checkpoint_last.pt").read_bytes() == before
    assert report(tmp_path / "2" / "checkpoint_last.pt").updates == 4


def test_a_job_that_fails_ends_in_one_line_and_the_others_run(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["optimization.max_update=2", "dataset.disable_validation=true", "task.pruning.sparsity=0.5,1.5,0.25"]
    done = commands.train(tmp_path, sweep(tmp_path, data, pretrained, *keys), expect=1)
    assert lines(done) == ["fairseq_parp: task.pruning.sparsity=1.5: must be a number in [0, 1)"]
    assert "Traceback" not in done.err
    assert report(tmp_path / "2" / "checkpoint_last.pt").prunable.sparsity == pytest.approx(0.25, abs=1e-4)


def test_jobs_of_one_sweep_do_not_share_a_folder(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = [*SHORT, "optimization.max_update=2", "dataset.disable_validation=true", "optimization.lr=[0.01],[0.001]"]
    arguments = ["-m", *tiny.training(tmp_path / "one", data, pretrained, *keys)]
    done = commands.train(tmp_path, arguments, expect=1)
    assert "job 0 of this sweep saved there, with other settings; give each job its own folder" in lines(done)[0]
    assert "Traceback" not in done.err
    assert report(tmp_path / "one" / "checkpoint_last.pt").updates == 2


@pytest.mark.slow
def test_every_job_runs_under_submitit(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    keys = ["optimization.max_update=2", "dataset.disable_validation=true", *launcher]
    commands.train(tmp_path, sweep(tmp_path, data, pretrained, *keys, "task.pruning.sparsity=0.5"))
    done = commands.train(
        tmp_path, sweep(tmp_path, data, pretrained, *keys, "task.pruning.sparsity=0.5,1.5,0.25"), expect=1
    )
    assert lines(done) == ["fairseq_parp: task.pruning.sparsity=1.5: must be a number in [0, 1)"]
    assert "update 2 has reached optimization.max_update=2" in (tmp_path / "0" / "train.log").read_text()
    assert report(tmp_path / "2" / "checkpoint_last.pt").updates == 2
