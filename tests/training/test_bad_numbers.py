"""Numbers that go wrong: a loss that is NaN, weights that are not finite, layers that vanish, spans that do not fit."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from fairseq.data import data_utils
from mistakes import one_line
from tiny import FP16

from fairseq_parp import checkpoints
from fairseq_parp.compat import no_spans
from fairseq_parp.compat.scope import act
from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count


def poisoned(pretrained: Path, path: Path, value: float) -> Path:
    """A pretrained file whose features become ``value``: nothing prunable is touched."""
    state = torch.load(pretrained, weights_only=False)
    state["model"]["layer_norm.weight"].fill_(value)
    torch.save(state, path)
    return path


@pytest.mark.parametrize("keys", [[], FP16], ids=["fp32", "fp16"])
def test_a_loss_that_is_nan(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, keys: list[str]
) -> None:
    bad = poisoned(pretrained, tmp_path / "bad.pt", float("nan"))
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, bad, *keys), expect=None)
    one_line(done, "the loss of update 1 is NaN; its utterances: ")
    assert f"{data}/train.tsv:" in done.last_line
    assert "train-" in done.last_line


def test_weights_that_are_not_finite_at_a_reprune_leave_the_last_good_checkpoint(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["optimization.max_update=8", "task.pruning.interval=4", "optimization.lr=[1e-3]"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, "optimization.max_epoch=1"))
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    wild = ["optimization.lr=[1e38]", "checkpoint.save_interval_updates=0", "checkpoint.save_interval=99"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, *wild), expect=None)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert "update" in done.last_line
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before
    checkpoints.read(tmp_path / "checkpoint_last.pt")


def pruner(weights: dict[str, torch.Tensor], **keys: object) -> PruningSession:
    return PruningSession({name: PrunedParameter(weight) for name, weight in weights.items()}, read_config(**keys))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "weight",
    [torch.full((20, 20), 0.5), torch.zeros(20, 20), torch.full((20, 20), 1e-42), torch.full((20, 20), -0.0)],
    ids=["all equal", "all zero", "subnormal", "negative zero"],
)
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.999])
def test_odd_weights_give_exactly_k_zeros(weight: torch.Tensor, sparsity: float) -> None:
    weights = {"a": weight.clone(), "b": torch.arange(1.0, 101.0).view(10, 10)}
    natural = sum(int((w == 0).sum()) for w in weights.values())
    report = pruner(weights, sparsity=sparsity).prune(0)
    assert report.zeros == max(natural, zero_count(sparsity, 500))
    assert sum(int((w == 0).sum()) for w in weights.values()) == report.zeros


def test_what_vanishes_is_named() -> None:
    weights = {"layers.0.fc1.weight": torch.rand(4, 4) / 100, "layers.0.fc1.bias": torch.zeros(4)}
    weights["layers.1.fc1.weight"] = torch.rand(4, 4) + 1
    made = pruner(weights, sparsity=0.6)
    assert made.collapsed() == []
    made.prune(0)
    assert made.collapsed() == ["layers.0.fc1.weight"]


def test_a_layer_that_vanishes_is_warned_of_once(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["task.pruning.sparsity=0.9999", "task.pruning.interval=1", "optimization.max_update=4"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, "optimization.lr=[0.0]"))
    assert done.out.count("nothing is left of ") == 1
    assert "lower task.pruning.sparsity, or ask for task.pruning.allocation=layer" in done.out


def test_masks_of_narrow_models_and_short_audio_end_no_run(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["model.mask_channel_prob=0.01", "model.mask_channel_length=64", "model.mask_length=40"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys, "optimization.max_update=4"))
    assert "model.mask_channel_prob=0.01 and model.mask_channel_length=64 leave a batch" in done.out


STOCK_SPANS = inspect.unwrap(data_utils.compute_mask_indices)


@pytest.mark.parametrize("frames", range(1, 12))
def test_masks_of_any_length(frames: int) -> None:
    no_spans.install()
    with act():
        mask = data_utils.compute_mask_indices((3, frames), None, 0.65, 10, min_masks=2)
    assert mask.shape == (3, frames)
    assert mask.dtype == np.bool_
    # 0.12.2 masks short audio whole, where later ones end the run
    assert tiny.of_2022() or not mask.all(axis=1).any()


def test_stock_fairseq_dies_of_them() -> None:
    with pytest.raises((ValueError, IndexError), match=r"this should never happen|out of bounds"):
        STOCK_SPANS((300, 32), None, 0.01, 64)
    if not tiny.of_2022():
        with pytest.raises(ValueError, match="the entire sequence is masked"):
            STOCK_SPANS((300, 1), None, 0.65, 10, min_masks=2)  # many rows: one alone is not always masked whole
