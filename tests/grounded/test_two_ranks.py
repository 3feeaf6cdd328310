"""Two real processes over gloo: what one has embedded are negatives of the other's items, and gradients reach both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import small
import tiny

from fairseq_parp import checkpoints

# A global batch is the whole training set: four captions on one rank, or two on each of two. wav2vec 2.0's own loss is
# off, because masks are drawn rank by rank; so is dropout. All audio has one length, so that no batch is padded. Adam
# divides by a gradient's size: where that is only rounding, a large eps keeps it rounding.
CALM = [
    "criterion.alpha=1", "model.encoder_layerdrop=0.0", "+model.dropout=0.0", "+model.attention_dropout=0.0",
    "+model.grounded_dropout=0.0", "+model.dropout_input=0.0", "+model.dropout_features=0.0",
    "+optimizer.adam_eps=0.001", "optimization.max_update=4", "task.max_sample_size=null",
]  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    return dict(checkpoints.read(folder / "checkpoint_last.pt"))


def negatives(state: dict[str, Any]) -> float:
    """Return the mean number of negatives in training."""
    return next(meter["val"] for _, key, _, meter in state["extra_state"]["metrics"]["train"] if key == "negatives")


def test_two_ranks_equal_one_with_the_same_global_batch(commands: tiny.Commands, tmp_path: Path) -> None:
    (tmp_path / "grounded.yaml").write_text(small.recipe(tmp_path))
    tiny.make_corpus(tmp_path / "data", {"train": 4, "valid": 9}, (0.8, 0.8))
    (tmp_path / "data" / "train.img").write_text("picture0\npicture1\npicture0\npicture2\n")
    folders = {1: tmp_path / "one", 2: tmp_path / "two"}
    for ranks, folder in folders.items():
        folder.mkdir()
        arguments = [
            "--config-dir", str(tmp_path), "--config-name", "grounded", f"common.user_dir={tiny.PLUGIN}",
            f"checkpoint.save_dir={folder}", *CALM, f"dataset.batch_size={4 // ranks}",
        ]  # fmt: skip
        every = commands.train_ranks(folder, ranks, arguments) if ranks > 1 else [commands.train(folder, arguments)]
        assert [done.status for done in every] == [0] * ranks, every[-1].err[-3000:]
    one, two = (read(folder) for folder in folders.values())
    floats = {name: tensor for name, tensor in one["model"].items() if tensor.is_floating_point()}
    difference = max(float((tensor - two["model"][name]).abs().max()) for name, tensor in floats.items())
    print(f"largest difference of a weight: {difference:.2g}")
    assert difference < 1e-5
    assert one["extra_state"]["best"] == two["extra_state"]["best"]  # recall_10
    assert negatives(one) == negatives(two) == 2.5
