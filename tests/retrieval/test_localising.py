"""Localisation on made-up cases with known answers, and ``fairseq-parp localise`` on a model whose codes are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf

from fairseq_parp import cli
from fairseq_parp.grounded.features import Features, write_features
from fairseq_parp.grounded.localising import points_at, relevance, within_box
from fairseq_parp.retrieval.loading import load_grounded
from fairseq_parp.transcription.audio import read_audio

QUARTERS = torch.tensor([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])


def test_a_word_points_at_the_region_that_uses_its_code() -> None:
    regions = torch.eye(4)
    for code in range(4):
        found = relevance(torch.eye(4)[[code, code]], regions)
        assert found.tolist() == torch.eye(4)[code].tolist()
        for target in range(4):
            assert points_at(found, within_box(QUARTERS, QUARTERS[target])) == (target == code)


def test_relevance_is_the_sum_over_the_codes_and_a_tie_is_a_miss() -> None:
    segment, regions = torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.2, 0.8], [0.9, 0.1]])
    torch.testing.assert_close(relevance(segment, regions), torch.tensor([0.75 * 0.2 + 0.25 * 0.8, 0.75 * 0.9 + 0.025]))
    inside = within_box(QUARTERS, torch.tensor([0, 0, 1, 0.5]))
    assert inside.tolist() == [True, True, False, False]
    assert points_at(torch.tensor([1.0, 1.0, 0.5, 0.5]), inside)
    assert not points_at(torch.ones(4), inside)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("localise")
    recipe: Any = OmegaConf.create(small.recipe(folder))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 3
    recipe.model.update(codes=6, code_width=8, code_warm_up=1)
    train(OmegaConf.to_container(recipe), folder / "run", method="dense")  # type: ignore[arg-type]
    return folder


def localise(folder: Path, *arguments: str, images: str = "data/images.safetensors") -> int:
    given = ["--images", str(folder / images)]
    return cli.main(["localise", str(folder / "run/checkpoint_last.pt"), *arguments, *given])


def audio(folder: Path) -> str:
    return str(folder / "data/valid-0.flac")


def best(folder: Path, picture: str, capsys: pytest.CaptureFixture[str]) -> tuple[list[float], list[list[float]]]:
    assert localise(folder, audio(folder), picture, "--start", "0.1", "--end", "0.3", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    return shown["relevance"], shown["boxes"]


def test_relevance_is_that_of_codes_computed_by_hand_and_is_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, boxes = best(folder, "picture2", capsys)
    grounded, features = load_grounded(folder / "run/checkpoint_last.pt"), Features(folder / "data/images.safetensors")
    values, places = features[features.rows["picture2"]]
    assert places is not None
    torch.testing.assert_close(torch.tensor(boxes), places)
    book = grounded.model.grounded["codes"].book
    source = read_audio(audio(folder), 16000, False)[:14000]
    with torch.no_grad():
        _, seen = grounded.model.encode_images(values[None], places[None])
        _, spoken = grounded.model.encode_audio(torch.nn.functional.layer_norm(source, source.shape)[None])
    regions, frames = ((-torch.cdist(x.features[0], book.embedding)).softmax(1) for x in (seen, spoken))
    step = len(source) / 16000 / len(frames)
    said = [row for row, frame in enumerate(frames) if (row + 1) * step > 0.1 and row * step < 0.3]
    assert 0 < len(said) < len(frames)
    expected = [sum(float(frames[t] @ region) for t in said) / len(said) for region in regions]
    assert found == pytest.approx(expected, rel=1e-4)
    plot = folder / "heat.png"
    at = [audio(folder), "picture2", "--start", "0.1", "--end", "0.3", "--plot", str(plot)]
    assert localise(folder, *at) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "relevance" in capsys.readouterr().out


def test_the_pointing_game_counts_known_hits_and_misses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["audio\timage\tstart\tend\tleft\ttop\tright\tbottom"]
    for number in range(4):
        found, boxes = best(folder, f"picture{number}", capsys)
        order = sorted(range(len(found)), key=found.__getitem__)
        left, top, right, bottom = boxes[order[-1] if number else order[0]]  # the first word is a miss
        across, down = (left + right) / 2, (top + bottom) / 2
        box = [across - 1e-4, down - 1e-4, across + 1e-4, down + 1e-4]
        lines.append("\t".join(["data/valid-0.flac", f"picture{number}", "0.1", "0.3", *map(str, box)]))
    words = folder / "words.tsv"
    words.write_text("\n".join(lines) + "\n")
    assert localise(folder, "--words", str(words), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["words"], shown["hits"]) == (4, 3)
    assert shown["chance"] == pytest.approx(100 / small.REGIONS)
    assert localise(folder, "--words", str(words)) == 0
    assert "3 of 4 words found: 75.0 %" in capsys.readouterr().out


def test_bad_input_ends_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = Features(folder / "data/images.safetensors")
    write_features(folder / "plain.safetensors", features.ids, torch.randn(7, 3, 6), "made up")
    (folder / "short.tsv").write_text("audio\timage\n")
    head = "audio\timage\tstart\tend\tleft\ttop\tright\tbottom\n"
    (folder / "after.tsv").write_text(f"{head}data/valid-0.flac\tpicture1\t0.1\t90\t0\t0\t1\t1\n")
    (folder / "text.tsv").write_text(f"{head}data/valid-0.flac\tpicture1\tsoon\t1\t0\t0\t1\t1\n")
    (folder / "none.tsv").write_text(head)
    segment = ["--start", "0.1", "--end", "0.3"]
    cases: list[tuple[list[str], str, str]] = [
        ([audio(folder), "picture1", *segment], "plain.safetensors", "has no boxes"),
        ([audio(folder), "nothing", *segment], "", "has no picture 'nothing'"),
        ([audio(folder), "picture1", "--start", "5", "--end", "6"], "", "start and end='5 to 6': must be a segment"),
        ([audio(folder), "picture1"], "", "name WAV, IMAGE, --start and --end, or --words alone"),
        (["--words", str(folder / "short.tsv")], "", "lacks the column(s) start, end"),
        (["--words", str(folder / "after.tsv")], "", "after.tsv:2: start and end='0.1 to 90'"),
        (["--words", str(folder / "text.tsv")], "", "text.tsv:2"),
        (["--words", str(folder / "none.tsv")], "", "must have one word at least"),
    ]
    for arguments, images, named in cases:
        assert localise(folder, *arguments, images=images or "data/images.safetensors") == 2
        line = capsys.readouterr().err
        assert named in line
        assert line.count("\n") == 1
