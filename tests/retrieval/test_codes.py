"""The use of a codebook beside counts by hand, and ``fairseq-parp codes`` on a real training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf

from fairseq_parp import checkpoints, cli
from fairseq_parp.grounded.code_matching import code_scores
from fairseq_parp.grounded.code_use import code_use
from fairseq_parp.retrieval.embedding import embed_split
from fairseq_parp.retrieval.loading import load_grounded


def test_uses_that_a_reader_can_count() -> None:
    found = code_use(torch.tensor([4, 4, 0, 0]), torch.tensor([0, 10, 10, 0]))
    assert (found.audio, found.image, found.used, found.shared) == (2, 2, 3, 1)
    assert (found.shared_uses, found.divergence) == (pytest.approx(50), pytest.approx(0.5))
    assert found.audio_perplexity == found.image_perplexity == pytest.approx(2)


@pytest.mark.parametrize(("rare", "shared"), [(19, 0), (20, 2)])
def test_a_code_is_shared_from_a_fifth_of_its_uses_on(rare: int, shared: int) -> None:
    found = code_use(torch.tensor([80, 20]), torch.tensor([rare, 100 - rare]))
    assert found.shared == shared


def test_divergence_is_that_of_its_definition() -> None:
    one, other = torch.tensor([5, 3, 2]), torch.tensor([1, 1, 8])
    mean = [(a / 10 + b / 10) / 2 for a, b in zip(one.tolist(), other.tolist(), strict=True)]
    parts = [
        sum(n / 10 * math.log2(n / 10 / m) for n, m in zip(side.tolist(), mean, strict=True)) for side in (one, other)
    ]
    assert code_use(one, other).divergence == pytest.approx(sum(parts) / 2)
    assert code_use(one, 7 * one).divergence == pytest.approx(0, abs=1e-12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    recipe: Any = OmegaConf.create(small.recipe(folder))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 3
    recipe.criterion.code_weight = 0.5
    recipe.model.update(codes=6, code_width=8, code_warm_up=1)
    train(OmegaConf.to_container(recipe), folder / "run", method="dense")  # type: ignore[arg-type]
    state = torch.load(folder / "run/checkpoint_last.pt", weights_only=False)
    state["model"]["grounded.codes.book.seeded"] = torch.tensor(False)
    torch.save(state, folder / "unseeded.pt")
    return folder


def test_the_command_counts_the_codes_and_ranks_by_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = [str(folder / "run/checkpoint_last.pt"), "--data", str(folder / "data"), "--split", "valid"]
    assert cli.main(["codes", *at, "--json", "--plot", str(folder / "codes.png")]) == 0
    shown = json.loads(capsys.readouterr().out)
    embedded = embed_split(load_grounded(at[0]), folder / "data", "valid")
    book = checkpoints.read(at[0])["model"]["grounded.codes.book.embedding"]
    assert shown["codes"] == len(book) == len(shown["uses"]["audio"])
    assert sum(shown["uses"]["image"]) == small.PICTURES * small.REGIONS
    assert sum(shown["uses"]["audio"]) == sum(len(each.nearest) for each in embedded.caption_codes)
    usages = [torch.stack([each.usage for each in side]) for side in (embedded.caption_codes, embedded.image_codes)]
    scores = code_scores(*usages)
    own = scores.gather(1, embedded.owners[:, None])
    hits = ((scores >= own).sum(1) <= 5).double().mean()
    by_codes = {(each["way"], each["k"]): each["value"] for each in shown["recall"]}
    assert by_codes["s2i", 5] == pytest.approx(100 * float(hits))
    assert (folder / "codes.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["codes", *at]) == 0
    text = capsys.readouterr().out
    assert f"6 codes, {shown['used']} used; {shown['shared']} shared" in text
    assert "speech to image" in text


def test_a_checkpoint_without_seeded_codes_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--data", str(folder / "data"), "--split", "valid"]
    assert cli.main(["codes", str(folder / "unseeded.pt"), *at]) == 2
    line = capsys.readouterr().err
    assert "has no codes: train with model.codes above 0" in line
    assert line.count("\n") == 1
