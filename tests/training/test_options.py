"""fairseq's own options beside the pruning: those that go with it, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from comparing import differences
from mistakes import one_line
from omegaconf import OmegaConf

from fairseq_parp.errors import ConfigError
from fairseq_parp.training.options import require_options

PREFIX = "w2v_encoder.w2v_model."
PRUNED = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


def model_in(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=False)["model"]  # type: ignore[no-any-return]


def test_activation_checkpointing_changes_no_weight(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path
) -> None:
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, "+model.checkpoint_activations=true"))
    last = tmp_path / "checkpoint_last.pt"
    assert torch.load(last, weights_only=False)["cfg"]["model"]["w2v_args"]["model"]["checkpoint_activations"] is True
    assert not differences(model_in(last), model_in(finetuned / "checkpoint_last.pt"))


@pytest.mark.parametrize("method", ["dense", "parp", "parp_p", "mpi", "rp"])
def test_freezing_with_each_method(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, method: str
) -> None:
    """Until then the Transformer has the pretrained weights and the method's zeros; afterwards it moves."""
    keys = [f"task.pruning.method={method}", "task.pruning.interval=2", "model.freeze_finetune_updates=3"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, "optimization.max_update=6"))
    before = {name: weight for name, weight in model_in(pretrained).items() if any(part in name for part in PRUNED)}
    frozen, free = (model_in(file) for file in (tmp_path / "checkpoint_2_3.pt", tmp_path / "checkpoint_last.pt"))
    for found, moves in ((frozen, False), (free, True)):
        kept = {name: found[PREFIX + name] != 0 for name in before}
        moved = [name for name in before if bool((found[PREFIX + name] != before[name])[kept[name]].any())]
        assert bool(moved) is moves
        size, zeros = sum(map(torch.numel, kept.values())), sum(int((~kept[name]).sum()) for name in kept)
        natural = sum(int((weight == 0).sum()) for weight in before.values())
        if method != "parp_p" or moves:
            assert zeros == (size // 2 if method != "dense" else 0 if moves else natural)


def test_validating_late_saves_late(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    keys = ["dataset.validate_after_updates=9", "optimization.max_update=10"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    names = {file.name for file in tmp_path.glob("*.pt")}
    assert names == {"checkpoint_5_9.pt", "checkpoint_best.pt", "checkpoint_last.pt"}  # no checkpoint_2_3.pt


REFUSED = {
    "distributed_training.ddp_backend=slowmo": "ddp_backend='slowmo': is not supported: the ranks'",
    "optimization.use_bmuf=true": "use_bmuf=True: is not supported: the ranks'",
    "checkpoint.best_checkpoint_metric=bleu": "must be one of loss, nll_loss, uer, wer",
    "optimization.skip_remainder_batch=true optimization.update_freq=[50]": "update_freq=[50]: is more than",
    "optimization.lr=[0.1,0.2]": "cannot be built with optimization.lr=[0.1, 0.2], optimization.max_update=",
    "optimization.lr=[]": "optimization.lr=[]: needs a value",
    "lr_scheduler.phase_ratio=[0.5,0.1,0.1]": "phase ratios must add up to 1",
}


def test_what_is_refused(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    each = [tiny.training(tmp_path / str(n), data, pretrained, *keys.split()) for n, keys in enumerate(REFUSED)]
    for done, message in zip(
        commands.run_together("fairseq_cli.hydra_train", each, tmp_path), REFUSED.values(), strict=True
    ):
        one_line(done, message)


def test_writing_asynchronously_is_refused() -> None:
    """Without iopath fairseq ends before the task is made."""
    run = OmegaConf.create({
        "checkpoint": {"write_checkpoints_asynchronously": True},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "optimization": {"use_bmuf": False},
        "task": {"_name": "parp_finetuning"},
    })  # fmt: skip
    with pytest.raises(ConfigError, match="write_checkpoints_asynchronously=True: must be false"):
        require_options(run.task)
