"""What the last updates of a run write and log, where fairseq's intervals and several limits meet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import in_process
import pytest

from fairseq_parp.mask_files.report import report


@pytest.fixture
def recipe(data: Path, pretrained: Path) -> dict[str, Any]:
    """An epoch has three updates."""
    return in_process.speech(data, pretrained)


@pytest.fixture
def ends(recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Any:
    """Train under other keys by group; return the lines that were logged about the end."""

    def go(**keys: Any) -> list[str]:
        caplog.set_level(logging.INFO)
        groups = {name: recipe[name] | changes for name, changes in keys.items()}
        in_process.train({**recipe, **groups}, tmp_path, sparsity=0.5)
        own = (record.getMessage() for record in caplog.records if record.name == "fairseq_parp.training.run")
        return [line for line in own if "update" in line]

    return go


def test_an_interval_that_validation_puts_off_has_not_saved_the_end(ends: Any, tmp_path: Path) -> None:
    ends(optimization={"max_epoch": 1}, checkpoint={"save_interval": 9}, dataset={"validate_after_updates": 9})
    assert report(tmp_path / "checkpoint_last.pt").updates == 3


def test_a_run_at_two_limits_ends_once(ends: Any, tmp_path: Path) -> None:
    lines = ends(optimization={"max_epoch": 2, "lr": [0.01, 0.001], "stop_min_lr": 0.005})
    assert len(lines) == 1
    assert lines[0].startswith("the run ended after update 6 by optimization.max_epoch=2")
    assert report(tmp_path / "checkpoint_last.pt").run["ended"] == "optimization.max_epoch=2"


@pytest.mark.parametrize("updates", [3, 2])
def test_an_end_that_writes_no_file_names_the_newest_checkpoint(ends: Any, tmp_path: Path, updates: int) -> None:
    """The last update writes a file only if it is one of the interval's, which is 2."""
    saving = {"no_last_checkpoints": True, "save_interval_updates": 2}
    lines = ends(optimization={"max_update": updates}, checkpoint=saving, dataset={"disable_validation": True})
    newest = f"the newest checkpoint is {tmp_path}/checkpoint_1_2.pt of update 2"
    unsaved = f"the weights of update 3 are not saved (checkpoint.no_last_checkpoints=true): {newest}"
    assert lines[1:] == ([unsaved] if updates == 3 else [])
