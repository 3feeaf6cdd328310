"""The life cycle on tasks that this project does not have: fairseq's own pretraining of speech, and translation."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import tiny
import torch
from comparing import differences
from other_tasks import make_user_dir, speech, translation

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count


@pytest.fixture(scope="module")
def user_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_user_dir(tmp_path_factory.mktemp("user") / "my_tasks")


@pytest.mark.parametrize("task", ["pruned_pretraining", "pruned_translation"])
def test_exact_zeros_and_resume_bit_for_bit(commands: tiny.Commands, user_dir: Path, tmp_path: Path, task: str) -> None:
    text = speech(tmp_path) if task == "pruned_pretraining" else translation(tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)

    def train(folder: str, **options: str) -> str:
        arguments = [
            "--config-dir", str(tmp_path), "--config-name", "recipe", f"common.user_dir={user_dir}",
            f"checkpoint.save_dir={tmp_path / folder}",
        ]  # fmt: skip
        expect = None if options else 0
        return commands.train(tmp_path, arguments, expect, **options).out

    log = train("straight")
    train("broken", kill_at='"num_updates": "5"')
    killed = sorted(file.name for file in (tmp_path / "broken").glob("*.pt"))
    assert any(name.endswith("_3.pt") for name in killed)
    assert not any(name.endswith("_6.pt") for name in killed)
    train("broken")
    states = [checkpoints.read(tmp_path / folder / "checkpoint_last.pt") for folder in ("straight", "broken")]
    parts = [(state["model"], state["last_optimizer_state"], _entry(state)) for state in states]
    assert differences(*parts) == []
    for file in (tmp_path / "straight").glob("*.pt"):
        state = checkpoints.read(file)
        pruning = _entry(state)["pruning"]
        size = sum(state["model"][name].numel() for name in pruning["mask"])
        zeros = sum(int((state["model"][name] == 0).sum()) for name in pruning["mask"])
        done = int(state["optimizer_history"][-1]["num_updates"])
        ramp = Fraction(1, 5) + Fraction(3, 10) * Fraction(done - done % 2, 8)  # of the last re-prune
        assert zeros == zero_count(0.5 if task == "pruned_pretraining" else ramp, size), file.name
        assert report(file).prunable.zeros == zeros
    assert not any("decoder" in name for name in _entry(states[0])["pruning"]["mask"])
    assert "valid" in log
    assert torch.equal(*(state["model"][next(iter(_entry(state)["pruning"]["mask"]))] for state in states))


def _entry(state: dict[str, dict[str, dict[str, dict[str, torch.Tensor]]]]) -> dict[str, dict[str, torch.Tensor]]:
    return next(entry for entry in state["extra_state"].values() if isinstance(entry, dict) and "pruning" in entry)
