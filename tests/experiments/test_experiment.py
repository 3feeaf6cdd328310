"""A small experiment end to end: real trainings and decodings, killed in the middle and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch

from fairseq_parp.experiments.results import read_results

DESCRIPTION = """
config: {config}
checkpoint: pretrained.pt
data: data
updates: 6
settings: [checkpoint.no_epoch_checkpoints=false]
imp: {{rewind_update: 3, round_updates: 2}}
runs:
  - {{method: dense}}
  - {{method: imp, sparsity: 0.1}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that was killed with its first training done and another one running, and then finished."""
    place = tmp_path_factory.mktemp("experiment")
    tiny.make_corpus(place / "data", {"train": 6, "valid": 3, "test": 3})
    tiny.make_pretrained(place / "pretrained.pt")
    (place / "try.yaml").write_text(DESCRIPTION.format(config=tiny.CONFIG))
    killed = start(place)
    wait_for(killed, place / "outputs" / "try" / "logs" / "train_imp-seed1-round1.log", "num_updates")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    left = (place / "outputs" / "try" / "runs" / "dense-seed1" / "checkpoint_last.pt").stat().st_mtime_ns
    (place / "dense_written").write_text(str(left))
    assert start(place).wait() == 0, (place / "log").read_text()
    return place


def start(place: Path) -> subprocess.Popen[bytes]:
    """Start the experiment in a group of processes of its own."""
    words = [sys.executable, str(tiny.PLUGIN), "experiment", "try.yaml", "--jobs", "1"]
    with (place / "log").open("wb") as log:
        return subprocess.Popen(
            words, cwd=place, stdout=log, stderr=subprocess.STDOUT, env=tiny.environment(), start_new_session=True
        )


def wait_for(process: subprocess.Popen[bytes], file: Path, text: str) -> None:
    for _ in range(6000):
        if file.exists() and text in file.read_text():
            return
        assert process.poll() is None, "the experiment ended too early"
        time.sleep(0.05)
    raise AssertionError(f"{text!r} did not appear in {file}")


def at_update(folder: Path, update: int) -> dict[str, torch.Tensor]:
    """Return the weights of a run's checkpoint that was saved after so many updates."""
    states = (torch.load(file, weights_only=False) for file in folder.glob("checkpoint*.pt"))
    return next(state["model"] for state in states if state["optimizer_history"][-1]["num_updates"] == update)


def test_the_results_are_complete_after_a_kill(folder: Path) -> None:
    rows = {row.run: row for row in read_results(folder / "outputs" / "try" / "try.tsv")}
    assert list(rows) == ["dense-seed1", "imp-0.1-seed1"]
    imp = rows["imp-0.1-seed1"]
    assert (imp.sparsity, imp.measured, imp.finetunings, imp.updates) == (0.1, pytest.approx(0.1, abs=1e-4), 2, 6)
    assert imp.iou_mpi is not None
    assert 0.5 < imp.iou_mpi <= 1
    assert all(row.seconds and row.peak_megabytes and row.uer > 0 for row in rows.values())
    assert "task.pruning.mask=" in imp.command
    assert "dense" in (folder / "log").read_text()


def test_what_was_finished_before_the_kill_is_not_repeated(folder: Path) -> None:
    dense = folder / "outputs" / "try" / "runs" / "dense-seed1" / "checkpoint_last.pt"
    assert dense.stat().st_mtime_ns == int((folder / "dense_written").read_text())


def test_imp_rewinds_to_the_dense_runs_own_weights(folder: Path) -> None:
    runs = folder / "outputs" / "try" / "runs"
    rewind, dense = at_update(runs / "imp-seed1-rewind", 3), at_update(runs / "dense-seed1", 3)
    assert rewind.keys() == dense.keys()
    assert all(torch.equal(rewind[name], dense[name]) for name in dense)


def test_rounds_start_from_the_rewind_checkpoint_with_a_fresh_optimizer(folder: Path) -> None:
    log = (folder / "outputs" / "try" / "logs" / "train_imp-0.1-seed1.log").read_text()
    assert "imp-seed1-rewind/checkpoint_last.pt: optimizer, lr scheduler, meters, dataloader will be reset" in log
    assert "first mask:" in log


def test_a_finished_experiment_has_nothing_left(folder: Path) -> None:
    words = [sys.executable, str(tiny.PLUGIN), "experiment", "try.yaml", "--dry-run"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=tiny.environment(), check=True)
    assert "left: 0 trainings" in done.stdout


@pytest.mark.slow
def test_trainings_run_as_jobs_of_a_launcher(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm")
    text = DESCRIPTION.format(config=tiny.CONFIG)
    (folder / "jobs.yaml").write_text(text + "launcher: {name: submitit_local, timeout_min: 5}\n")
    words = [sys.executable, str(tiny.PLUGIN), "experiment", "jobs.yaml", "--jobs", "2", "--out", str(tmp_path)]
    subprocess.run(words, cwd=folder, check=True, env=tiny.environment())
    for here, there in zip(
        read_results(folder / "outputs" / "try" / "try.tsv"), read_results(tmp_path / "jobs.tsv"), strict=True
    ):
        assert (here.run, here.uer, here.measured, here.iou_mpi) == (
            there.run,
            there.uer,
            there.measured,
            there.iou_mpi,
        )
        assert list((tmp_path / "runs" / there.run / "launcher" / ".submitit").glob("*"))
