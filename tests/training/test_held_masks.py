"""Real trainings under a mask that is held, and PARP from another run's mask."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from comparing import logged

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.making import make_mask
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.sparsity import MaskSet

WEIGHT_DECAY = "+optimizer.weight_decay=0.1"
"""Adam's momentum is on in every recipe; this adds what else moves weights without a gradient."""


@pytest.fixture(scope="module")
def random_mask(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask file that no magnitude would give."""
    path = tmp_path_factory.mktemp("masks") / "random.safetensors"
    make_mask(pretrained, 0.5, "random", seed=11).save(path)
    return path


def train(commands: tiny.Commands, folder: Path, data: Path, pretrained: Path, *keys: str) -> str:
    folder.mkdir(exist_ok=True)
    return commands.train(folder, tiny.training(folder, data, pretrained, *keys)).out


def zeros_in_the_log(log: str) -> list[float]:
    return [float(line["zeros"]) for line in logged(log, "train_inner")]


PRECISIONS = {
    "fp32": [],
    "bf16": ["common.bf16=true"],
    "fp16": ["common.fp16=true", "common.fp16_no_flatten_grads=true"],
    "memory-efficient": ["common.fp16=true", "common.memory_efficient_fp16=true"],
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fixed_mask_holds_after_every_update(
    commands: tiny.Commands, data: Path, pretrained: Path, random_mask: Path, tmp_path: Path, precision: str
) -> None:
    keys = ["task.pruning.method=fixed", f"+task.pruning.mask={random_mask}", "task.pruning.sparsity=0.5"]
    keys += [WEIGHT_DECAY, *PRECISIONS[precision], "optimization.max_update=8"]
    log = train(commands, tmp_path, data, pretrained, *keys)
    assert len(zeros_in_the_log(log)) == 8
    assert min(zeros_in_the_log(log)) >= 0.5
    files = list(tmp_path.glob("*.pt"))
    assert len(files) >= 3
    for file in files:
        assert revived(random_mask, file) == 0, file.name
        if precision == "fp32":  # in half precision an update that is too small leaves natural zeros
            assert read_mask(file).churn(renamed(random_mask, file)) == 0, file.name


def revived(mask: Path, file: Path) -> int:
    """Count the weights of a checkpoint that are not zero where the mask has a 0."""
    held, found = renamed(mask, file), read_mask(file)
    return sum(int((found.kept(name) & ~held.kept(name)).sum()) for name in found.bits)


def renamed(mask: Path, file: Path) -> MaskSet:
    return read_mask(mask).renamed(read_mask(file).bits)


def test_mpi_keeps_the_pretrained_magnitudes(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    train(commands, tmp_path, data, pretrained, "task.pruning.method=mpi", WEIGHT_DECAY)
    last = tmp_path / "checkpoint_last.pt"
    mask = read_mask(last)
    assert mask.churn(make_mask(pretrained, 0.5).renamed(mask.bits)) == 0
    before = checkpoints.read(pretrained)["model"]
    after = checkpoints.read(last)["model"]
    name = "encoder.layers.0.fc1.weight"
    assert not torch.equal(
        before[name] * mask.kept(f"w2v_encoder.w2v_model.{name}"), after[f"w2v_encoder.w2v_model.{name}"]
    )


def test_rp_is_the_mask_of_a_fresh_model_on_the_pretrained_weights(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["task.pruning.method=rp", "optimization.lr=[0.0]", "optimization.max_update=2"]
    train(commands, tmp_path, data, pretrained, *keys)
    mask = read_mask(tmp_path / "checkpoint_last.pt")
    assert mask.churn(make_mask(pretrained, 0.5, "random-init", seed=7).renamed(mask.bits)) == 0
    before = checkpoints.read(pretrained)["model"]["encoder.layers.1.fc2.weight"]
    name = "w2v_encoder.w2v_model.encoder.layers.1.fc2.weight"
    assert torch.equal(checkpoints.read(tmp_path / "checkpoint_last.pt")["model"][name], before * mask.kept(name))


def test_parp_from_another_runs_checkpoint_starts_at_its_mask_and_leaves_it(
    commands: tiny.Commands, data: Path, pretrained: Path, random_mask: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    fixed = ["task.pruning.method=fixed", f"+task.pruning.mask={random_mask}", "optimization.max_update=2"]
    train(commands, source, data, pretrained, *fixed)
    keys = [f"+task.pruning.mask={source / 'checkpoint_last.pt'}", "task.pruning.interval=2"]
    log = train(commands, target, data, pretrained, *keys)
    assert "first mask: " in log
    mask = read_mask(target / "checkpoint_last.pt")
    start = renamed(random_mask, target / "checkpoint_last.pt")
    assert mask.zeros() == start.zeros()
    assert 0 < mask.churn(start) < mask.churn(make_mask(pretrained, 0.5).renamed(mask.bits))
