"""However a run ends, the end is reported, its checkpoint is written, and a repeated command trains no further."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from comparing import compare, differences
from mistakes import one_line, spoil

from fairseq_parp import checkpoints
from fairseq_parp.cli.report import render
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count

QUICK = ["optimization.update_freq=[1]", "dataset.num_workers=0"]

RISING = ["task.pruning.method=parp_p", "task.pruning.sparsity=0.9", "+task.pruning.start_sparsity=0.2"]


def updates(path: Path) -> int | None:
    return report(path).updates


def test_a_resume_counts_patience_on_and_a_run_that_ended_by_it_stays_ended(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    # At such a rate no validation is better than the first, of update 3; the fourth after it is that of update 15.
    keys = [*QUICK, *RISING, "checkpoint.patience=4", "optimization.lr=[1e-9]", "optimization.max_update=60"]
    keys.append("checkpoint.no_epoch_checkpoints=false")
    done = commands.train(tmp_path, tiny.training(straight, data, pretrained, *keys))
    last = straight / "checkpoint_last.pt"
    assert updates(last) == 15
    # 0.2 + 0.7 * 14 / 60, the ramp at the last re-prune
    assert "the run ended after update 15 by checkpoint.patience=4, before the sparsity's ramp" in done.out
    assert "its checkpoints reach 0.3633 of the 0.9 asked" in done.out
    counted = report(last)
    assert counted.prunable.zeros == zero_count("109/300", counted.prunable.size)
    assert counted.run["ended"] == "checkpoint.patience=4"
    assert "sparsity    0.3633 reached of 0.9 asked; ended by checkpoint.patience=4" in render(counted)

    resumed.mkdir()
    earlier = next(file for file in straight.glob("checkpoint*.pt") if updates(file) == 9)
    shutil.copy(earlier, resumed / "checkpoint_last.pt")
    commands.train(tmp_path, tiny.training(resumed, data, pretrained, *keys))
    assert compare(resumed / "checkpoint_last.pt", last) == []

    before = last.read_bytes()
    done = commands.train(tmp_path, tiny.training(straight, data, pretrained, *keys))
    assert "the checkpoint of update 15 has reached checkpoint.patience=4; nothing is left to train" in done.out
    assert last.read_bytes() == before
    commands.train(tmp_path, tiny.training(straight, data, pretrained, *keys, "checkpoint.patience=5"))
    assert updates(last) == 18


def test_another_metric_counts_anew(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    keys = [*QUICK, "checkpoint.patience=2", "optimization.lr=[1e-9]", "optimization.max_update=60"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert updates(tmp_path / "checkpoint_last.pt") == 9
    keys.append("checkpoint.best_checkpoint_metric=loss")
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, "optimization.max_update=12"))
    assert "the smallest loss decides from here on, the smallest uer did before" in done.out
    extra = checkpoints.read(tmp_path / "checkpoint_best.pt")["extra_state"]
    assert extra["best"] == extra["val_loss"]
    assert updates(tmp_path / "checkpoint_best.pt") == 12


def test_scores_of_another_metric_or_validation_set_are_not_compared(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    first, *resumed = (tmp_path / name for name in ("first", "metric", "utterances"))
    keys = [*QUICK, "optimization.lr=[1e-9]"]
    commands.train(tmp_path, tiny.training(first, data, pretrained, *keys, "optimization.max_update=3"))
    other = spoil(data, tmp_path)
    (other / "valid.ltr").write_text((other / "valid.ltr").read_text().replace("A", "B"))
    loss = "checkpoint.best_checkpoint_metric=loss"
    changes = {
        "the smallest loss decides from here on, the smallest uer did before": (data, loss),
        "other utterances are validated from here on": (other, "checkpoint.best_checkpoint_metric=uer"),
    }
    for folder, (message, (present, key)) in zip(resumed, changes.items(), strict=True):
        folder.mkdir()
        shutil.copy(first / "checkpoint_last.pt", folder)
        done = commands.train(
            tmp_path, tiny.training(folder, present, pretrained, *keys, key, "optimization.max_update=6")
        )
        assert f"{message}: best value and patience start anew" in done.out
        extra = checkpoints.read(folder / "checkpoint_last.pt")["extra_state"]
        assert extra["best"] == extra["val_loss"]
        assert updates(folder / "checkpoint_best.pt") == 6


def test_a_plateau_of_another_metric_is_not_compared(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    loss, uer = (f"checkpoint.best_checkpoint_metric={name}" for name in ("loss", "uer"))
    keys = plateau("optimization.max_update=99")
    for metric, epochs in ((loss, 2), (uer, 4), (loss, 6)):  # one of the two has the smaller values
        limit = f"optimization.max_epoch={epochs}"
        commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, metric, limit))
        third = checkpoints.read(tmp_path / f"checkpoint{epochs - 1}.pt")
        last = checkpoints.read(tmp_path / f"checkpoint{epochs}.pt")
        assert last["optimizer_history"][-1]["lr_scheduler_state"]["best"] == third["extra_state"]["val_loss"]


def test_the_end_of_the_last_epoch_is_saved_whatever_the_intervals(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    rare = ["checkpoint.save_interval=5", "checkpoint.save_interval_updates=0", "dataset.validate_interval=9"]
    keys = [*QUICK, *rare, *RISING, "optimization.max_epoch=2", "optimization.max_update=60"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    found = report(tmp_path / "checkpoint_last.pt")
    assert f"the run ended after update {found.updates} by optimization.max_epoch=2, before" in done.out
    assert found.run["ended"] == "optimization.max_epoch=2"
    assert 0.2 <= found.run["reached"] < 0.9 == found.run["asked"]
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_a_run_that_ends_unsaved_reports_it(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = [*QUICK, "optimization.max_update=2", "checkpoint.no_save=true"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    line = "the weights of update 2 are not saved (checkpoint.no_save=true): this run has written no checkpoint"
    assert line in done.out
    assert not list(tmp_path.glob("*.pt"))


def test_hours_are_counted_over_resumes_of_one_run_alone(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    keys = [*QUICK, "optimization.stop_time_hours=1e-9", "dataset.disable_validation=true"]
    commands.train(tmp_path, tiny.training(one, data, pretrained, *keys))
    assert updates(one / "checkpoint_last.pt") == 1
    done = commands.train(tmp_path, tiny.training(one, data, pretrained, *keys))
    assert "update 1 has reached optimization.stop_time_hours=1e-09; nothing is left to train" in done.out
    assert updates(one / "checkpoint_last.pt") == 1
    start = f"checkpoint.finetune_from_model={one / 'checkpoint_last.pt'}"
    done = commands.train(tmp_path, tiny.training(other, data, pretrained, *keys, start))
    assert "the run ended after update 1 by optimization.stop_time_hours" in done.out
    assert "nothing is left" not in done.out


def plateau(*keys: str) -> list[str]:
    """A schedule that cuts the rate by ten at the second epoch in a row without a better score."""
    schedule = ["lr_scheduler._name=reduce_lr_on_plateau", "+lr_scheduler.lr_patience=1"]
    schedule += ["~lr_scheduler.phase_ratio", "~lr_scheduler.final_lr_scale"]
    return [*QUICK, *schedule, "optimization.lr=[1e-6]", "checkpoint.no_epoch_checkpoints=false", *keys]


def rate(path: Path) -> Any:
    return checkpoints.read(path)["last_optimizer_state"]["param_groups"][0]["lr"]


def test_a_plateau_is_counted_over_a_resume(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    keys = plateau("optimization.max_epoch=7", "optimization.max_update=99", "+lr_scheduler.lr_shrink=0.1")
    commands.train(tmp_path, tiny.training(straight, data, pretrained, *keys))
    assert rate(straight / "checkpoint7.pt") < rate(straight / "checkpoint4.pt") < rate(straight / "checkpoint1.pt")
    resumed.mkdir()
    for reset in ([], ["checkpoint.reset_meters=true"]):
        shutil.copy(straight / "checkpoint2.pt", resumed / "checkpoint_last.pt")
        commands.train(tmp_path, tiny.training(resumed, data, pretrained, *keys, *reset))
        one, other = (checkpoints.read(folder / "checkpoint_last.pt") for folder in (straight, resumed))
        assert differences(one["optimizer_history"][-1], other["optimizer_history"][-1]) == []
        assert compare(resumed / "checkpoint_last.pt", straight / "checkpoint_last.pt") == []


def test_a_rate_at_its_floor_ends_the_run_with_a_checkpoint(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    rare = ["checkpoint.save_interval=9", "checkpoint.save_interval_updates=0", "optimization.stop_min_lr=5e-8"]
    keys = plateau(*rare, "optimization.max_update=99", "+lr_scheduler.lr_shrink=0.1")
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    found = report(tmp_path / "checkpoint_last.pt")
    assert f"the run ended after update {found.updates} by optimization.stop_min_lr=5e-08: sparsity 0.5" in done.out
    assert found.run["ended"] == "optimization.stop_min_lr=5e-08"
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert updates(tmp_path / "checkpoint_last.pt") == found.updates


@pytest.mark.parametrize(
    ("limit", "resets"),
    [
        ("optimization.max_epoch=2", ["optimizer", "lr_scheduler", "meters"]),
        ("optimization.stop_time_hours=1e-09", ["optimizer", "lr_scheduler", "meters", "dataloader"]),
        ("checkpoint.patience=1", ["lr_scheduler", "dataloader"]),
    ],
)
def test_a_reset_that_leaves_nothing_to_train_is_refused_whatever_ended_the_run(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, limit: str, resets: list[str]
) -> None:
    keys = [*QUICK, *RISING, limit, "optimization.lr=[1e-9]", "optimization.max_update=60"]
    last = tmp_path / "checkpoint_last.pt"
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    before = last.read_bytes()
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    line = f"the checkpoint of update {updates(last)} has reached {limit}"
    assert done.out.count(f"{line}; nothing is left to train under that value") == 1
    for name in resets:
        reset = f"checkpoint.reset_{name}=true"
        done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, reset), expect=None)
        count = 0 if name == "optimizer" else updates(last)
        one_line(done, f"reset_{name}=True: the checkpoint of update {count} has reached {limit}, so nothing is left")
    assert last.read_bytes() == before
