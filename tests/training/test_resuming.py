"""What a checkpoint says is compared with what a training meets; every ``reset_*`` does what the docs say."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from comparing import compare, differences, logged
from damage import flipped
from mistakes import one_line, spoil
from omegaconf import OmegaConf

from fairseq_parp import checkpoints, cli
from fairseq_parp.errors import ResumeError, UnreadableCheckpointError
from fairseq_parp.mask_files.report import report
from fairseq_parp.training.identity import TrainingData
from fairseq_parp.training.saved_state import require_whole_entry
from fairseq_parp.training.settings import log_changes

Train = Callable[..., tiny.Done]


@pytest.fixture
def train(commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path) -> Train:
    """Goes on from a checkpoint of the finished run, in a folder of its own: ``tmp_path / "run"``."""
    run = tmp_path / "run"
    run.mkdir()

    def go(*keys: str, last: str | None = None, refused: str = "", data: Path = data) -> tiny.Done:
        if last is not None:
            shutil.copy(finetuned / last, run / "checkpoint_last.pt")
        before = {file.name: file.read_bytes() for file in run.glob("*.pt")}
        arguments = tiny.training(run, data, pretrained, *keys)
        done = commands.train(tmp_path, arguments, expect=None if refused else 0)
        if refused:
            one_line(done, refused)
            assert {file.name: file.read_bytes() for file in run.glob("*.pt")} == before
        return done

    return go


def other_dictionary(data: Path, tmp_path: Path, symbols: str) -> Path:
    copied = spoil(data, tmp_path)
    (copied / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    return copied


MOVED = "the same 5 symbols in another order: line 1 is 'B', there 'A'; line 2 is 'A', there 'B'"
WAY = "a data folder keeps the old one with --dictionary "


def test_another_order_of_the_dictionary(train: Train, data: Path, finetuned: Path, tmp_path: Path) -> None:
    moved = other_dictionary(data, tmp_path, "BACD|")
    done = train(last="checkpoint_2_3.pt", refused=MOVED, data=moved)
    assert f"{moved}/dict.ltr.txt: another dictionary than {tmp_path}/run/checkpoint_last.pt was" in done.last_line
    assert WAY in done.last_line
    (tmp_path / "run" / "checkpoint_last.pt").unlink()
    train(f"checkpoint.finetune_from_model={finetuned}/checkpoint_last.pt", refused=MOVED, data=moved)


def test_a_folder_written_with_the_checkpoints_dictionary_fits(
    train: Train, data: Path, finetuned: Path, tmp_path: Path
) -> None:
    last = finetuned / "checkpoint_2_3.pt"
    moved = other_dictionary(data, tmp_path, "BACD|")
    joint = tmp_path / "joint"
    assert cli.main(["manifest", "union", str(moved), "--out", str(joint), "--dictionary", str(last)]) == 0
    assert (joint / "dict.ltr.txt").read_bytes() == (data / "dict.ltr.txt").read_bytes()
    train("optimization.max_update=4", last=last.name, data=joint)


def test_another_size_of_the_dictionary(train: Train, data: Path, tmp_path: Path) -> None:
    more = other_dictionary(data, tmp_path, "ABCDÉ|")
    train(last="checkpoint_2_3.pt", refused="6 symbols, there 5: it adds 'É' and lacks none", data=more)


def changed(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(source, weights_only=False)
    change(state)
    torch.save(state, target)
    return target


def reversed_symbols(state: dict[str, Any]) -> None:
    dictionary = state["task_state"]["target_dictionary"]
    dictionary.symbols[4:] = reversed(dictionary.symbols[4:])
    dictionary.indices = {symbol: index for index, symbol in enumerate(dictionary.symbols)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (reversed_symbols, "the same 5 symbols in another order: line 1 is 'A', there '|'"),
        (lambda state: state["cfg"]["task"].update(normalize=True), "task.normalize=False: {other} was trained with"),
        (lambda state: state["cfg"]["task"].update(sample_rate=8000), "task.sample_rate=16000: {other} was trained"),
    ],
    ids=["dictionary", "normalize", "sample_rate"],
)
def test_models_of_an_ensemble_that_do_not_go_together(
    commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path, change: Callable[[Any], object], expected: str
) -> None:
    last = finetuned / "checkpoint_last.pt"
    other = changed(last, tmp_path / "other.pt", change)
    done = commands.generate(data, Path(f"{last}:{other}"), tmp_path / "out", expect=None)
    one_line(done, expected.format(other=other))
    if change is reversed_symbols:
        commands.generate(data, Path(f"{last}:{finetuned}/checkpoint_5_9.pt"), tmp_path / "out")


def test_a_checkpoint_that_is_named_is_there(train: Train, finetuned: Path, tmp_path: Path) -> None:
    missing = "checkpoint.{key}='{path}': no such file at {path}; name a file that is there, or leave the key out"
    path = f"{tmp_path}/typo.pt"
    train(f"checkpoint.finetune_from_model={path}", refused=missing.format(key="finetune_from_model", path=path))
    keys = [f"checkpoint.restore_file={path}"]
    train(*keys, last="checkpoint_5_9.pt", refused=missing.format(key="restore_file", path=path))
    hint = f"did you mean {tmp_path}/run/checkpoint_last.pt?"
    train("checkpoint.restore_file=./checkpoint_last.pt", refused=hint)
    # from another folder's run, over this one's last checkpoint
    keys = [f"checkpoint.restore_file={finetuned}/checkpoint_2_3.pt"]
    train(*keys, refused="run/checkpoint_last.pt exists and would be overwritten by a run from another folder")
    both = [*keys, f"checkpoint.finetune_from_model={finetuned}/checkpoint_2_3.pt"]
    train(*both, refused="and cannot be combined with checkpoint.restore_file")
    train(*both[1:], "checkpoint.reset_meters=true", refused="and cannot be combined with checkpoint.reset_meters")


def test_a_folder_with_a_last_checkpoint_resumes_whatever_another_run_is_named(train: Train, finetuned: Path) -> None:
    keys = [f"checkpoint.finetune_from_model={finetuned}/checkpoint_last.pt", "optimization.max_update=4"]
    done = train(*keys, last="checkpoint_2_3.pt")
    assert [line["num_updates"] for line in logged(done.out, "train_inner")] == ["4"]


def test_continue_once_continues_a_run_in_an_empty_folder(train: Train, finetuned: Path) -> None:
    done = train(f"checkpoint.continue_once={finetuned}/checkpoint_2_3.pt", "optimization.max_update=4")
    assert [line["num_updates"] for line in logged(done.out, "train_inner")] == ["4"]


def state_of(file: Path) -> dict[str, Any]:
    return checkpoints.read(file)


UNCHANGED = ["checkpoint.reset_lr_scheduler=true", "checkpoint.reset_meters=true"]


def test_reset_lr_scheduler_and_reset_meters_change_no_weight(train: Train, finetuned: Path, tmp_path: Path) -> None:
    done = train(*UNCHANGED, "checkpoint.no_epoch_checkpoints=false", last="checkpoint_2_3.pt")
    assert compare(tmp_path / "run/checkpoint_last.pt", finetuned / "checkpoint_last.pt") == []
    # the best value so far is forgotten, so that the first validation has none to compare with
    assert ["valid_best_uer" in line for line in logged(done.out, "valid")[:2]] == [False, True]


def test_reset_dataloader_starts_epoch_1_and_keeps_all_else(train: Train, finetuned: Path, tmp_path: Path) -> None:
    keys = ["checkpoint.reset_dataloader=true", "optimization.max_update=10"]
    refused = "sparsity: the checkpoint was trained with 0.5, this command asks for 0.7"
    train(*keys, "task.pruning.sparsity=0.7", last="checkpoint_5_9.pt", refused=refused)
    # the stashed values come back: where nothing is learnt the next checkpoint stashes the same
    keys = ["checkpoint.reset_dataloader=true", "optimization.lr=[0.0]", "checkpoint.save_interval_updates=1"]
    done = train(*keys, "optimization.max_update=11", last="checkpoint_5_9.pt")
    assert "first mask" not in done.out
    assert [line["epoch"] for line in logged(done.out, "train_inner")] == [1, 1]
    saved = finetuned / "checkpoint_5_9.pt", tmp_path / "run" / "checkpoint_1_10.pt"
    before, after = (state_of(path)["extra_state"]["ParpFinetuningTask"] for path in saved)
    assert after["updates"] == 10
    assert any(len(values) for values in before["pruning"]["stashed"].values())
    assert differences(after["pruning"]["stashed"], before["pruning"]["stashed"]) == []


def test_reset_optimizer_counts_from_0_also_for_a_finished_run(train: Train, tmp_path: Path) -> None:
    keys = ["checkpoint.reset_optimizer=true", "optimization.max_update=2"]
    done = train(*keys, last="checkpoint_last.pt")
    assert "first mask" not in done.out
    assert [line["num_updates"] for line in logged(done.out, "train_inner")] == ["1", "2"]
    state = state_of(tmp_path / "run/checkpoint_last.pt")
    assert state["extra_state"]["ParpFinetuningTask"]["updates"] == 2
    # layerdrop leaves out a layer of an update
    assert max(int(part["step"]) for part in state["last_optimizer_state"]["state"].values()) == 2
    assert report(tmp_path / "run/checkpoint_last.pt").prunable.sparsity == pytest.approx(0.5, abs=1e-3)


def test_a_new_optimizer_starts_alike_wherever_the_old_one_stopped(
    train: Train, finetuned: Path, tmp_path: Path
) -> None:
    """Its random draws and its freezing count from 0, too."""
    keys = ["checkpoint.reset_optimizer=true", "optimization.max_update=2", "model.freeze_finetune_updates=9"]
    last = tmp_path / "run/checkpoint_last.pt"
    train(*keys, last="checkpoint_5_9.pt")
    one = state_of(last)
    counts = {"updates": 1, "micro_batch": (0, 1)}
    changed(finetuned / "checkpoint_5_9.pt", last, lambda s: s["extra_state"]["ParpFinetuningTask"].update(counts))
    train(*keys)
    assert differences(state_of(last)["model"], one["model"]) == []
    norms = {name for name in one["model"] if "encoder.layers" in name and "layer_norm" in name}
    before = state_of(finetuned / "checkpoint_5_9.pt")["model"]
    assert norms
    assert all(torch.equal(one["model"][name], before[name]) for name in norms)


def test_the_best_value_is_compared_after_a_resume(train: Train, finetuned: Path, tmp_path: Path) -> None:
    last, best = (tmp_path / "run" / f"checkpoint_{name}.pt" for name in ("last", "best"))
    changed(finetuned / "checkpoint_5_9.pt", last, lambda state: state["extra_state"].update(best=-1.0))
    train("optimization.max_update=10")
    assert state_of(last)["extra_state"]["best"] == -1.0
    assert not best.exists()
    train("checkpoint.reset_optimizer=true", "optimization.max_update=2")
    assert state_of(last)["extra_state"]["best"] == state_of(best)["extra_state"]["val_loss"]


@pytest.mark.parametrize(("key", "value"), [("ranks", 2), ("seed", 8), ("batching", "x"), ("content", "x")])
def test_what_identifies_the_data_of_a_run(key: str, value: Any) -> None:
    saved = TrainingData(13, "content", 3, "batching", 1, 7)
    saved.require_same(saved._asdict(), epoch=2, done=2)
    other = saved._replace(**{key: value})
    with pytest.raises(ResumeError, match=r"checkpoint.reset_dataloader=true continues with these"):
        other.require_same(saved._asdict(), epoch=2, done=2)
    if key != "content":  # at the start of an epoch there is no place to lose
        other.require_same(saved._asdict(), epoch=3, done=0)


def test_all_four_resets_keep_the_pruning(train: Train) -> None:
    keys = [f"checkpoint.reset_{name}=true" for name in ("optimizer", "lr_scheduler", "meters", "dataloader")]
    train(*keys, "task.pruning.method=dense", last="checkpoint_5_9.pt", refused="trained with 'parp', this command")
    done = train(*keys, "optimization.max_update=2", last="checkpoint_5_9.pt")
    assert "first mask" not in done.out
    assert [(line["epoch"], line["num_updates"]) for line in logged(done.out, "train_inner")] == [(1, "1"), (1, "2")]


@pytest.mark.parametrize("name", ["reset_dataloader", "reset_lr_scheduler", "reset_meters"])
def test_a_reset_that_leaves_nothing_to_train_is_refused(train: Train, name: str) -> None:
    expected = f"checkpoint.{name}=True: the checkpoint of update 17 has reached optimization.max_update=17, so nothing"
    train(f"checkpoint.{name}=true", last="checkpoint_last.pt", refused=expected)


def test_a_run_without_optimizer_state_does_not_start_over_silently(train: Train, tmp_path: Path) -> None:
    train("checkpoint.no_save_optimizer_state=true", "optimization.max_update=3")
    train(refused="holds no state of an optimizer to resume (checkpoint.no_save_optimizer_state leaves it out)")
    train("checkpoint.reset_optimizer=true", "optimization.max_update=2")
    assert state_of(tmp_path / "run/checkpoint_last.pt")["extra_state"]["ParpFinetuningTask"]["updates"] == 2


def test_a_checkpoint_without_pruning_state_starts_no_parp_run_midway(train: Train, tmp_path: Path) -> None:
    train("optimization.max_update=2")
    last = tmp_path / "run/checkpoint_last.pt"
    changed(last, last, lambda state: state["extra_state"].pop("ParpFinetuningTask"))
    done = train(refused="holds no state of a pruning to resume (crash.pt and other tasks' checkpoints never do)")
    assert f"checkpoint.finetune_from_model={last} starts a new run from its weights" in done.last_line


def longer(data: Path) -> None:
    for name in ("train.tsv", "train.ltr"):
        lines = (data / name).read_text().splitlines()
        extra = lines[-1].replace("train-12", "valid-1")
        (data / name).write_text("\n".join([*lines, extra]) + "\n")
    lines = (data / "valid.tsv").read_text().splitlines()
    tsv = (data / "train.tsv").read_text().splitlines()
    (data / "train.tsv").write_text("\n".join([*tsv[:-1], lines[2]]) + "\n")


def relabelled(data: Path) -> None:
    text = (data / "train.ltr").read_text()
    (data / "train.ltr").write_text(text.replace("A", "B", 1))


ANEW = "checkpoint.reset_dataloader=true continues with these from the start of epoch 1"


@pytest.mark.parametrize(
    ("change", "asked"),
    [(longer, "14 utterances"), (relabelled, "13 utterances (paths, lengths or labels differ)")],
)
@pytest.mark.parametrize("last", ["checkpoint_2_3.pt", "checkpoint3.pt"])
def test_other_training_data(
    train: Train, data: Path, tmp_path: Path, change: Callable[[Path], None], asked: str, last: str
) -> None:
    copied = spoil(data, tmp_path)
    train("optimization.max_update=7", last=last, data=copied)  # elsewhere, but the same
    change(copied)
    expected = f"task.data: the checkpoint was trained with '13 utterances', this command asks for '{asked}'"
    done = train(last=last, data=copied, refused=expected)
    assert done.last_line.endswith(ANEW)
    if last == "checkpoint_2_3.pt":
        train("checkpoint.reset_dataloader=true", "optimization.max_update=4", last=last, data=copied)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (
            "dataset.max_tokens=20000",
            "dataset (max_tokens, batch_size, grouped_shuffling, ...): the checkpoint was trained with '",
        ),
        ("dataset.grouped_shuffling=true", "this command asks for '3 other ones'"),
        ("common.seed=8", "common.seed: the checkpoint was trained with 7, this command asks for 8"),
    ],
)
def test_other_batches_in_the_middle_of_an_epoch(train: Train, key: str, expected: str) -> None:
    done = train(key, last="checkpoint_2_3.pt", refused=expected)
    assert f"or {ANEW} (it stopped in epoch 2 after 2 batches)" in done.last_line
    train(key, "optimization.max_update=7", last="checkpoint3.pt")  # at an epoch's end there is no place to lose


def test_settings_that_a_resume_changes_are_named(train: Train) -> None:
    unchanged = ["optimization.max_update=17", "dataset.num_workers=0"]
    assert "continues with other settings" not in train(*unchanged, last="checkpoint_2_3.pt").out
    done = train("optimization.lr=[0.005]", "optimization.update_freq=[1]", last="checkpoint_2_3.pt")
    changes = "optimization.update_freq=[1], was [2], optimization.lr=[0.005], was [0.001]"
    assert re.search(rf"the run continues with other settings: .*{re.escape(changes)}", done.out)


def test_another_number_of_ranks_or_seed_is_named(caplog: pytest.LogCaptureFixture) -> None:
    was, now = (
        OmegaConf.create({"common": {"seed": seed}, "distributed_training": {"distributed_world_size": ranks}})
        for seed, ranks in ((7, 2), (8, 1))
    )
    log_changes(was, now)
    assert "common.seed=8, was 7, distributed_training.distributed_world_size=1, was 2" in caplog.text


def test_a_checkpoint_that_names_no_data_is_resumed_with_a_warning(
    train: Train, finetuned: Path, tmp_path: Path
) -> None:
    last = tmp_path / "run/checkpoint_last.pt"
    changed(finetuned / "checkpoint_2_3.pt", last, lambda s: s["extra_state"]["ParpFinetuningTask"].pop("data"))
    done = train("optimization.max_update=4")
    assert "does not name the data of its run, so that they could not be compared" in done.out
    position = {"iterations_in_epoch": 99}
    changed(last, last, lambda s: (s["extra_state"]["ParpFinetuningTask"].pop("data"),
                                   s["extra_state"]["train_iterator"].update(position)))  # fmt: skip
    train(refused="task.data: the checkpoint was trained with '99 batches and more'")


@pytest.mark.parametrize("rebuilt", ["true", "false"])
def test_utterances_of_one_length_resume_exactly(
    commands: tiny.Commands, pretrained: Path, tmp_path: Path, rebuilt: str
) -> None:
    """Which of two comes first is drawn for each epoch, or once: a resumed run draws the same."""
    data = tiny.make_corpus(tmp_path / "data", {"train": 12}, (0.5, 0.5))
    keys = [f"+task.rebuild_batches={rebuilt}", "dataset.disable_validation=true", "optimization.max_update=9"]
    keys += ["optimization.update_freq=[1]", "dataset.max_tokens=24000"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    commands.train(tmp_path, tiny.training(whole, data, pretrained, *keys))
    resumed.mkdir()
    shutil.copy(next(whole.glob("checkpoint_*_6.pt")), resumed / "checkpoint_last.pt")
    commands.train(tmp_path, tiny.training(resumed, data, pretrained, *keys))
    assert compare(whole / "checkpoint_last.pt", resumed / "checkpoint_last.pt") == []


def test_advice_never_goes_in_circles(train: Train, finetuned: Path, tmp_path: Path) -> None:
    """A file that is whole and does not fit is not called damaged, nor is it recommended for one that is."""
    run = tmp_path / "run"
    last, best = run / "checkpoint_last.pt", run / "checkpoint_best.pt"
    for file in (last, best):
        changed(finetuned / "checkpoint_5_9.pt", file, reversed_symbols)
    done = train(refused="the same 5 symbols in another order")
    assert "is whole" not in done.last_line
    assert "whole" not in train(f"checkpoint.restore_file={best}", refused="in another order").last_line
    flipped(last, last, last.stat().st_size // 2)
    train(refused="; no whole checkpoint that fits lies beside it")
    shutil.copy(finetuned / "checkpoint_2_3.pt", run)
    os.utime(run / "checkpoint_2_3.pt", (1, 1))
    train(refused=f"checkpoint_2_3.pt is whole: checkpoint.restore_file={run}/checkpoint_2_3.pt resumes from there")


def test_tensors_that_do_not_fit_are_named(train: Train, finetuned: Path, tmp_path: Path) -> None:
    def narrower(state: dict[str, Any]) -> None:
        state["model"]["w2v_encoder.proj.weight"] = torch.ones(9, 16)

    changed(finetuned / "checkpoint_5_9.pt", tmp_path / "run/checkpoint_last.pt", narrower)
    done = train(refused="size mismatch for w2v_encoder.proj.weight: copying a param with shape torch.Size([9, 16])")
    assert "Error(s) in loading" not in done.last_line


@pytest.mark.parametrize(
    ("part", "form"),
    [
        ({"data": {"utterances": 13}}, "data is not a dictionary with utterances, content, batches"),
        ({"data": [13]}, "data is not a dictionary"),
        ({"run": [1]}, "run is not a dictionary"),
        ({"run": {"best": 1.0}}, "run.without_gain is not an integer"),
        ({"adapters": {}}, "adapters is not a dictionary with config"),
        ({"pruning": 5}, "pruning is not a dictionary"),
        ({"micro_batch": "x"}, "micro_batch is not a pair of integers"),
        ({"optimizer": [1]}, "optimizer is not a dictionary with scaler, masters"),
        ({"precision": None}, "precision is not a text"),
    ],
    ids=str,
)
def test_a_damaged_entry_of_the_task_is_one_line(finetuned: Path, part: dict[str, Any], form: str) -> None:
    entry = state_of(finetuned / "checkpoint_2_3.pt")["extra_state"]["ParpFinetuningTask"]
    require_whole_entry("some.pt", "ParpFinetuningTask", entry)
    with pytest.raises(UnreadableCheckpointError, match=rf"damaged: extra_state.ParpFinetuningTask.{form}"):
        require_whole_entry("some.pt", "ParpFinetuningTask", {**entry, **part})


def test_a_damaged_entry_names_the_way_out(train: Train, finetuned: Path, tmp_path: Path) -> None:
    last = tmp_path / "run/checkpoint_last.pt"
    shutil.copy(finetuned / "checkpoint_2_3.pt", last.parent)
    damage = {"data": {"utterances": 13}}
    changed(finetuned / "checkpoint_5_9.pt", last, lambda s: s["extra_state"]["ParpFinetuningTask"].update(damage))
    train(refused="checkpoint_2_3.pt is whole: checkpoint.restore_file=")
    changed(finetuned / "checkpoint_5_9.pt", last, lambda s: s["extra_state"].update(best="x"))
    train(refused="damaged: extra_state.best='x' is not a number; checkpoint_2_3.pt is whole")
