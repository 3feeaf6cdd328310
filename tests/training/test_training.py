"""Real fairseq trainings of a tiny model: exact zeros, cadence, resume, against stock fairseq."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from comparing import compare, logged

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count


def test_every_checkpoint_has_exactly_k_zeros(finetuned: Path) -> None:
    files = sorted(finetuned.glob("*.pt"))
    assert {file.name for file in files} >= {"checkpoint_best.pt", "checkpoint_last.pt", "checkpoint_2_3.pt"}
    for file in files:
        counted = report(file).prunable
        assert counted.zeros == zero_count(0.5, counted.size), file.name


def test_the_log_tells_sparsity_zeros_churn_and_blanks(finetuned: Path) -> None:
    log = (finetuned / "log").read_text()
    lines = {int(line["num_updates"]): line for line in logged(log, "train_inner")}
    assert sorted(lines) == list(range(1, 18))
    assert all(float(line["sparsity"]) == 0.5 and "churn" in line and "prune_ms" in line for line in lines.values())
    assert float(lines[7]["zeros"]) == float(lines[14]["zeros"]) == float(lines[17]["zeros"]) == 0.5
    assert float(lines[8]["zeros"]) < 0.4
    valid = logged(log, "valid")
    assert valid
    assert all(0 <= float(line["valid_blank"]) <= 1 for line in valid)


def test_every_utterance_is_trained_on_and_validated(finetuned: Path) -> None:
    log = (finetuned / "log").read_text()
    assert len(re.findall(r'"train_loss"', log)) >= 8
    first = logged(log, "train")[0]
    updates = int(first["train_num_updates"])
    assert float(first["train_nsentences"]) * updates == 13


def test_cadence_of_validation_and_saving_changes_nothing(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path
) -> None:
    never = ["checkpoint.save_interval_updates=0", "checkpoint.save_interval=99", "dataset.validate_interval=99"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *never))
    assert not list(tmp_path.glob("checkpoint_*_*.pt"))
    assert compare(tmp_path / "checkpoint_last.pt", finetuned / "checkpoint_last.pt") == []


@pytest.mark.parametrize("name", ["checkpoint_2_3.pt", "checkpoint3.pt", "checkpoint_5_9.pt"])
def test_stopped_between_reprunes_or_at_an_epochs_end_and_resumed(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(finetuned / name, tmp_path / "checkpoint_last.pt")
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, "checkpoint.no_epoch_checkpoints=false"))
    assert compare(tmp_path / "checkpoint_last.pt", finetuned / "checkpoint_last.pt") == []


def test_repeating_a_finished_command_trains_no_further(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path
) -> None:
    shutil.copy(finetuned / "checkpoint_last.pt", tmp_path)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained))
    assert "the checkpoint of update 17 has reached optimization.max_update=17; nothing is left to train" in done.out
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_parp_p_ends_at_its_sparsity_and_says_when_it_stops_early(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["task.pruning.method=parp_p", "task.pruning.sparsity=0.9", "+task.pruning.start_sparsity=0.2"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    counted = report(tmp_path / "checkpoint_last.pt").prunable
    assert counted.zeros == zero_count(0.9, counted.size)
    # 0.2 + 0.7 * 7 / 17, the ramp at the last re-prune before update 9
    early = report(tmp_path / "checkpoint_5_9.pt").prunable
    assert early.zeros == zero_count("83/170", counted.size)
    assert "the checkpoint of update 9 has sparsity 0.4882; parp_p reaches 0.9 at update 17" in done.out


def test_a_crash_checkpoint_is_sparse(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    """Gradients that are not finite end in crash.pt, whose weights bypass the task's own saving."""
    keys = ["optimization.lr=[1e38]", "model.freeze_finetune_updates=99", "criterion.zero_infinity=false"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys), expect=None)
    assert done.status == 1
    assert "failed: gradients are Nan/Inf; its utterances: " in done.last_line
    assert "Traceback" not in done.err
    counted = report(tmp_path / "crash.pt").prunable
    assert counted.zeros >= zero_count(0.5, counted.size)


def test_finetune_from_model_takes_its_first_mask_after_loading(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path
) -> None:
    keys = [f"checkpoint.finetune_from_model={finetuned / 'checkpoint_last.pt'}", "optimization.max_update=4"]
    keys += ["task.pruning.sparsity=0.7", "optimization.lr=[0.0]"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    ours = checkpoints.read(tmp_path / "checkpoint_last.pt")["model"]
    source = checkpoints.read(finetuned / "checkpoint_last.pt")["model"]
    counted = report(tmp_path / "checkpoint_last.pt").prunable
    assert counted.zeros == zero_count(0.7, counted.size)
    for name, tensor in ours.items():
        kept = tensor != 0
        assert torch.equal(tensor[kept], source[name][kept]), name


def test_layerdrop_and_masking_differ_between_micro_batches() -> None:
    import numpy as np

    from fairseq_parp.training.randomness import derived

    def draw(*numbers: int) -> tuple[float, float, float]:
        with derived(*numbers):
            return (
                float(np.random.rand()),
                float(np.random.default_rng().random()),
                float(np.random.default_rng().random()),
            )

    seen = {
        draw(seed, update, micro, rank) for seed in (1, 2) for update in (0, 1) for micro in (0, 1) for rank in (0, 1)
    }
    assert len(seen) == 16
    assert len({number for numbers in seen for number in numbers}) == 48
    assert draw(1, 2, 3, 4) == draw(1, 2, 3, 4)
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    draw(5)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]
