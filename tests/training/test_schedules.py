"""Schedules that count epochs and scores, over resumes and resets."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import in_process
import pytest

from fairseq_parp import checkpoints

PLATEAU = {"_name": "reduce_lr_on_plateau", "lr_patience": 9}


@pytest.fixture(scope="module")
def recipe(data: Path, pretrained: Path) -> dict[str, Any]:
    """At such a rate no score is better than the first; an epoch has three updates."""
    recipe = in_process.speech(data, pretrained)
    recipe["checkpoint"] |= {"save_interval_updates": 0, "no_epoch_checkpoints": False}
    recipe["optimization"] |= {"max_update": 9, "lr": [1e-9]}
    return recipe | {"lr_scheduler": PLATEAU}


@pytest.fixture(scope="module")
def finished(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    in_process.train(recipe, folder, sparsity=0.5)
    return folder


def resumed(recipe: dict[str, Any], finished: Path, folder: Path, keys: dict[str, Any]) -> Any:
    """Train the last epoch again; return its checkpoint."""
    shutil.copy(finished / "checkpoint2.pt", folder / "checkpoint_last.pt")
    in_process.train({**recipe, "checkpoint": recipe["checkpoint"] | keys}, folder, sparsity=0.5)
    return checkpoints.read(folder / "checkpoint_last.pt")


@pytest.mark.parametrize(("keys", "bad"), [({}, 1), ({"reset_dataloader": True}, 1), ({"reset_lr_scheduler": True}, 0)])
def test_only_a_new_schedule_forgets_the_score_of_the_last_epoch(
    recipe: dict[str, Any], finished: Path, tmp_path: Path, keys: dict[str, bool], bad: int
) -> None:
    state = resumed(recipe, finished, tmp_path, keys)
    assert state["extra_state"]["ParpFinetuningTask"]["run"]["lr_scheduler"]["num_bad_epochs"] == bad
    assert (state["optimizer_history"][-1]["lr_scheduler_state"]["best"] == math.inf) == (not bad)


def test_another_schedule_has_no_use_for_a_plateaus_counters(
    recipe: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    state = resumed({**recipe, "lr_scheduler": {"_name": "fixed"}}, finished, tmp_path, {})
    assert "lr_scheduler" not in state["extra_state"]["ParpFinetuningTask"]["run"]
