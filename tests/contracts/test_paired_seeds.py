"""What pairs the error rates of one seed: whatever the method, the output layer and the batches begin alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from in_process import speech, train

from fairseq_parp.mask_files.making import make_mask
from fairseq_parp.sparsity import METHODS

UPDATES = 4
"""More than the first epoch, which has three batches."""

Seen = tuple[torch.Tensor, list[list[int]]]
"""The output layer's weights before the first update, and the utterances of each update."""


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Return a function that trains a few updates and returns the output layer and the batches that it began with."""
    from fairseq.trainer import Trainer

    data = tiny.make_corpus(tmp_path / "data", {"train": 12, "valid": 2})
    recipe = speech(data, tiny.make_pretrained(tmp_path / "pretrained.pt"))
    make_mask(recipe["model"]["w2v_path"], 0.5, "random").save(tmp_path / "mask.safetensors")
    heads: list[torch.Tensor] = []
    batches: list[list[int]] = []
    step = Trainer.train_step

    def observed(self: Any, samples: Any, *others: Any, **named: Any) -> Any:
        heads.append(self.model.w2v_encoder.proj.weight.detach().clone())
        batches.append([number for sample in samples for number in sample["id"].tolist()])
        return step(self, samples, *others, **named)

    monkeypatch.setattr(Trainer, "train_step", observed)

    def seen(method: str, seed: int) -> Seen:
        heads.clear()
        batches.clear()
        common = recipe["common"] | {"seed": seed}
        mask = {"mask": str(tmp_path / "mask.safetensors")} if method == "fixed" else {}
        save = tmp_path / f"{method}-{seed}"
        train(recipe | {"common": common}, save, UPDATES, method=method, sparsity=0.5, interval=2, **mask)
        assert len(batches) == UPDATES
        return heads[0], list(batches)

    return seen


def test_methods_of_one_seed_share_the_output_layer_and_the_order_of_batches(begin: Callable[..., Seen]) -> None:
    dense_head, dense_batches = begin("dense", 1)
    assert len({tuple(batch) for batch in dense_batches[:3]}) == 3
    for method in set(METHODS) - {"dense"}:
        head, batches = begin(method, 1)
        assert torch.equal(head, dense_head), method
        assert batches == dense_batches, method
    head, batches = begin("parp", 2)
    assert not torch.equal(head, dense_head)
    assert batches != dense_batches
