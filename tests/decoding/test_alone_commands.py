"""fairseq-generate and validation: an utterance's text and loss do not depend on the batch that it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from fairseq_parp.plugin import load_plugin

METRICS = ["loss", "c_errors", "c_total", "w_errors", "w_total", "_blank_frames", "_frames"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Utterances whose lengths differ by far, so that a batch has much padding."""
    return tiny.make_corpus(tmp_path_factory.mktemp("mixed"), {"test": 9}, (0.2, 2.0))


def hypotheses(results: Path) -> dict[str, tuple[float, str]]:
    lines = (results / "generate-test.txt").read_text().splitlines()
    fields = (line.split("\t") for line in lines if line.startswith("H-"))
    return {number: (float(score), text) for number, score, text in fields}


def test_fairseq_generate_decodes_an_utterance_as_alone(
    commands: tiny.Commands, mixed: Path, finetuned: Path, tmp_path: Path
) -> None:
    found = {}
    for name, options in {
        "alone": ["--batch-size", "1"],
        "stock alone": ["--batch-size", "1", "--stock-batches"],
        "together": ["--batch-size", "9"],
        "stock together": ["--batch-size", "9", "--stock-batches"],
    }.items():
        commands.generate(mixed, finetuned / "checkpoint_last.pt", tmp_path / name, "--beam", "1", *options)
        found[name] = hypotheses(tmp_path / name)
    assert found["alone"] == found["stock alone"]
    assert far(found["together"], found["alone"]) < 1e-3
    assert far(found["stock together"], found["alone"]) > 1e-2


def far(some: dict[str, tuple[float, str]], others: dict[str, tuple[float, str]]) -> float:
    """The largest difference of two scores, sums over up to a hundred frames; texts are equal or it is infinite."""
    assert some.keys() == others.keys()
    return max(
        abs(score - others[number][0]) if text == others[number][1] else float("inf")
        for number, (score, text) in some.items()
    )


def validated(task: Any, model: Any, criterion: Any, ids: list[list[int]]) -> dict[str, float]:
    """The sums of what validation logs of batches of those utterances."""
    dataset = task.dataset("test")
    batches = [dataset.collater([dataset[index] for index in batch]) for batch in ids]
    logs = [task.valid_step(batch, model, criterion)[2] for batch in batches]
    return {name: float(sum(log[name] for log in logs)) for name in METRICS}


def test_validation_gives_an_utterance_what_it_gets_alone(mixed: Path, finetuned: Path) -> None:
    from fairseq import checkpoint_utils

    load_plugin()
    overrides = {"data": str(mixed)}
    path = str(finetuned / "checkpoint_last.pt")
    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([path], {"task": overrides})
    task.load_dataset("test")
    torch.manual_seed(3)
    torch.nn.init.normal_(model.w2v_encoder.proj.weight, std=0.7)  # it would emit blanks alone
    criterion = task.build_criterion(cfg.criterion).eval()
    model.eval()
    every = list(range(9))
    apart = validated(task, model, criterion, [[index] for index in every])
    together = validated(task, model, criterion, [every])
    assert apart["c_errors"] > 0
    assert 0 < apart["_blank_frames"] < apart["_frames"]
    assert together == pytest.approx(apart, rel=1e-5)
    task.cfg.stock_batches = True
    assert validated(task, model, criterion, [every])["loss"] != pytest.approx(apart["loss"], rel=1e-4)
