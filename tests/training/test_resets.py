"""What each reset leaves out of a checkpoint, and which checkpoint is recommended in place of a damaged one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import in_process
import pytest
import torch
from damage import flipped

from fairseq_parp import checkpoints
from fairseq_parp.errors import OneLineExit

Train = Callable[..., dict[str, Any]]
Change = Callable[[dict[str, Any]], object]

AT = "checkpoint_1_2.pt"
"""In the middle of an epoch of three batches."""


@pytest.fixture(scope="module")
def recipe(data: Path, pretrained: Path) -> dict[str, Any]:
    recipe = in_process.speech(data, pretrained)
    recipe["common"] |= {"fp16": True, "fp16_no_flatten_grads": True}
    recipe["checkpoint"] |= {"save_interval_updates": 2}
    recipe["optimization"]["max_update"] = 4
    return recipe


@pytest.fixture(scope="module")
def finished(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    in_process.train(recipe, folder, sparsity=0.5)
    return folder


@pytest.fixture
def train(recipe: dict[str, Any], finished: Path, tmp_path: Path) -> Train:
    """Continue the run from a checkpoint, under other keys of ``checkpoint`` and other groups; return the last one."""

    def go(change: Change | None = None, at: str = AT, **keys: Any) -> dict[str, Any]:
        last = tmp_path / "checkpoint_last.pt"
        state = torch.load(finished / at, weights_only=False)
        if change is not None:
            change(state)
        torch.save(state, last)
        groups = {name: recipe[name] | keys.pop(name) for name in [*keys] if name in recipe}
        in_process.train({**recipe, "checkpoint": recipe["checkpoint"] | keys, **groups}, tmp_path, sparsity=0.5)
        return checkpoints.read(last)

    return go


def test_a_new_optimizer_counts_its_loss_scale_anew(train: Train) -> None:
    for reset in (False, True):  # to update 4, of which a new optimizer makes all
        scaler = train(reset_optimizer=reset)["extra_state"]["ParpFinetuningTask"]["optimizer"]["scaler"]
        assert scaler["_iter"] == 4


def test_a_new_schedule_forgets_the_best_score(train: Train) -> None:
    def best(state: dict[str, Any]) -> None:
        state["optimizer_history"][-1]["lr_scheduler_state"]["best"] = -1.0

    schedule = {"_name": "tri_stage", "phase_ratio": [0.1, 0.4, 0.5]}
    for reset in (False, True):
        history = train(best, lr_scheduler=schedule, reset_lr_scheduler=reset)["optimizer_history"]
        assert (history[-1]["lr_scheduler_state"]["best"] == -1.0) == (not reset)


def test_new_meters_count_from_the_resume(train: Train) -> None:
    for reset, updates in ((False, 4), (True, 2)):
        metrics = train(reset_meters=reset)["extra_state"]["metrics"]
        (counted,) = (meter["count"] for _, name, _, meter in metrics["train_inner"] if name == "bsz")
        assert counted == updates


def test_a_score_whose_metric_is_not_known_stays_the_best(train: Train) -> None:
    def unnamed(state: dict[str, Any]) -> None:
        state["extra_state"]["best"] = -1.0
        del state["extra_state"]["ParpFinetuningTask"]["run"]["metric"]

    assert train(unnamed)["extra_state"]["best"] == -1.0


def test_a_new_dataloader_brings_the_learning_rate_of_epoch_1(train: Train) -> None:
    rates = {"lr": [0.01, 0.001], "max_update": 5}
    for reset, rate in ((False, 0.001), (True, 0.01)):
        state = train(at="checkpoint_2_4.pt", optimization=rates, reset_dataloader=reset)
        assert state["last_optimizer_state"]["param_groups"][0]["lr"] == rate


def test_what_is_left_of_the_last_epoch_is_trained(train: Train) -> None:
    state = train(optimization={"max_epoch": 1}, reset_meters=True)
    assert state["optimizer_history"][-1]["num_updates"] == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [("epoch", "x"), ("epoch", -1), ("epoch", True), ("iterations_in_epoch", 2.0), ("iterations_in_epoch", 1 << 40)],
)
def test_a_place_that_is_none_is_one_line(train: Train, key: str, value: Any) -> None:
    line = (
        rf"extra_state.train_iterator.{key}={value!r} is not a position; no whole checkpoint that fits lies beside it"
    )
    with pytest.raises(OneLineExit, match=line):
        train(lambda state: state["extra_state"]["train_iterator"].update({key: value}))


@pytest.mark.parametrize(("key", "does"), [("restore_file", "resumes"), ("finetune_from_model", "starts")])
def test_the_newest_whole_checkpoint_is_recommended(
    recipe: dict[str, Any], finished: Path, tmp_path: Path, key: str, does: str
) -> None:
    for age, name in ((3, "checkpoint_a.pt"), (1, "checkpoint_b.pt"), (2, "checkpoint_c.pt")):
        shutil.copy(finished / AT, tmp_path / name)
        os.utime(tmp_path / name, (100 - age, 100 - age))
    damaged = tmp_path / "checkpoint_last.pt"
    flipped(finished / AT, damaged, (finished / AT).stat().st_size // 2)
    keys = {key: str(damaged)}
    newest = f"checkpoint_b.pt is whole: checkpoint.{key}={tmp_path}/checkpoint_b.pt {does} from there"
    with pytest.raises(OneLineExit, match=newest):
        in_process.train({**recipe, "checkpoint": recipe["checkpoint"] | keys}, tmp_path / "new", sparsity=0.5)
