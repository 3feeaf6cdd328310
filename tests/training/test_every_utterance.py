"""Every utterance is batched at default settings; stock fairseq loses some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from fairseq_parp.plugin import load_plugin


def task_and_split(data: Path, split: str, name: str) -> tuple[Any, Any]:
    from fairseq import tasks
    from omegaconf import OmegaConf

    load_plugin()
    keys = {"_name": name, "data": str(data), "labels": "ltr", "normalize": False, "tpu": False, "seed": 1}
    keys |= {"path": None, "ddp_backend": "legacy_ddp"} if name == "parp_finetuning" else {}
    config = OmegaConf.structured(tasks.TASK_DATACLASS_REGISTRY[name])
    task = tasks.setup_task(OmegaConf.merge(config, {key: keys[key] for key in keys.keys() & config.keys()}))
    task.load_dataset(split)
    return task, task.dataset(split)


def batched(data: Path, split: str, name: str = "parp_finetuning") -> list[int]:
    task, dataset = task_and_split(data, split, name)
    iterator = task.get_batch_iterator(dataset, max_tokens=64_000, required_batch_size_multiple=8)
    return sorted(int(index) for batch in iterator.frozen_batches for index in batch)


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_corpus(tmp_path_factory.mktemp("sizes"), {f"s{n}": n for n in (1, 5, 13, 36)}, (0.1, 0.3))


@pytest.mark.parametrize("size", [1, 5, 13, 36])
def test_none_is_left_out(sizes: Path, size: int) -> None:
    assert batched(sizes, f"s{size}") == list(range(size))


def test_stock_fairseq_of_after_2022_leaves_some_out(sizes: Path) -> None:
    left = batched(sizes, "s5", "audio_finetuning")
    assert left == list(range(5)) if tiny.of_2022() else len(left) < 5


def test_batches_are_otherwise_fairseqs_own(sizes: Path) -> None:
    ours, stock = (task_and_split(sizes, "s36", name) for name in ("parp_finetuning", "audio_finetuning"))
    indices = stock[1].ordered_indices()
    theirs = stock[1].batch_by_size(indices, max_tokens=16_000, required_batch_size_multiple=8)
    mended = ours[1].batch_by_size(indices, max_tokens=16_000, required_batch_size_multiple=8)
    assert [batch.tolist() for batch in mended[: len(theirs)]] == [batch.tolist() for batch in theirs]


def test_an_empty_selection_makes_no_batches(sizes: Path) -> None:
    _, dataset = task_and_split(sizes, "s5", "parp_finetuning")
    assert dataset.batch_by_size([], max_tokens=16_000, required_batch_size_multiple=8) == []
