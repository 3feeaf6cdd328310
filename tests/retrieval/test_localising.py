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
        _, spoken = grounded.model.encode_captions(torch.nn.functional.layer_norm(source, source.shape)[None])
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


def test_a_word_is_found_by_its_name_as_by_its_times(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "words.ctm").write_text("valid-0 1 0.1 0.1 a\nvalid-0 1 0.2 0.1 Dog\nvalid-0 1 0.4 0.1 dog\n")
    at, by_name = [audio(folder), "picture2"], ["--alignment", str(folder / "words.ctm"), "--json"]
    assert localise(folder, *at, "--word", "a", *by_name) == 0
    named = json.loads(capsys.readouterr().out)
    assert localise(folder, *at, "--start", "0.1", "--end", "0.2", "--json") == 0
    assert named["relevance"] == json.loads(capsys.readouterr().out)["relevance"]
    assert localise(folder, *at, "--word", "dog", *by_name) == 0  # it is said twice
    assert json.loads(capsys.readouterr().out)["segments"] == [[0.2, pytest.approx(0.3)], [0.4, 0.5]]
    assert localise(folder, *at, "--word", "cat", *by_name) == 2
    line = capsys.readouterr().err
    assert "--word='cat': is not in" in line
    assert "its words: a, Dog, dog" in line
    assert line.count("\n") == 1


def test_the_pointing_game_counts_known_hits_and_misses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ctm, objects = [], ["image\tobject\tleft\ttop\tright\tbottom"]
    for number in range(4):
        at = [str(folder / f"data/valid-{number}.flac"), f"picture{number}", "--start", "0.1", "--end", "0.3", "--json"]
        assert localise(folder, *at) == 0
        shown = json.loads(capsys.readouterr().out)
        found = shown["relevance"]
        region = found.index(max(found) if number else min(found))  # the first word is a miss
        left, top, right, bottom = shown["boxes"][region]
        across, down = (left + right) / 2, (top + bottom) / 2
        box = "\t".join(f"{side:.6f}" for side in (across - 1e-3, down - 1e-3, across + 1e-3, down + 1e-3))
        ctm += [f"valid-{number} 1 0.1 0.2 thing{number}", f"valid-{number} 1 0.3 0.1 thing"]
        objects.append(f"picture{number}\tThing{number}\t{box}")
    (folder / "game.ctm").write_text("\n".join(ctm) + "\n")
    (folder / "objects.tsv").write_text("\n".join(objects) + "\n")
    split = ["--data", str(folder / "data"), "--split", "valid", "--objects", str(folder / "objects.tsv")]
    assert localise(folder, *split, "--alignment", str(folder / "game.ctm"), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["words"], shown["hits"]) == (4, 3)
    assert shown["chance"] == pytest.approx(100 / small.REGIONS)
    assert "preferred" not in shown  # no picture has another object
    assert localise(folder, *split, "--alignment", str(folder / "game.ctm")) == 0
    assert "3 of 4 (75.0 %, " in capsys.readouterr().out


def test_a_word_prefers_its_own_object_or_another_as_their_areas_have_relevance(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objects, means = ["image\tobject\tleft\ttop\tright\tbottom"], []
    found, boxes = best(folder, "picture0", capsys)
    for name, side in (("left", 0.0), ("right", 0.5)):
        objects.append(f"picture0\t{name}\t{side}\t0\t{side + 0.5}\t1")
        areas = [max(0, min(b[2], side + 0.5) - max(b[0], side)) * max(0, b[3] - b[1]) for b in boxes]
        means.append(sum(area * each for area, each in zip(areas, found, strict=True)) / sum(areas))
    (folder / "sides.ctm").write_text("valid-0 1 0.1 0.2 right\n")
    (folder / "sides.tsv").write_text("\n".join(objects) + "\n")
    split = ["--data", str(folder / "data"), "--split", "valid", "--objects", str(folder / "sides.tsv")]
    assert localise(folder, *split, "--alignment", str(folder / "sides.ctm"), "--json") == 0
    shown = json.loads(capsys.readouterr().out)["preferred"]
    assert (shown["words"], shown["hits"], shown["chance"]) == (1, int(means[1] > means[0]), 50)


def test_bad_input_ends_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = Features(folder / "data/images.safetensors")
    write_features(folder / "plain.safetensors", features.ids, torch.randn(7, 3, 6), "made up")
    (folder / "nothing.ctm").write_text("valid-1 1 0.1 0.2 nothing\n")
    (folder / "boxes.tsv").write_text("image\tobject\tleft\ttop\tright\tbottom\npicture1\tdog\t0\t0\t1\t1\n")
    segment = ["--start", "0.1", "--end", "0.3"]
    cases: list[tuple[list[str], str, str]] = [
        ([audio(folder), "picture1", *segment], "plain.safetensors", "has no boxes"),
        ([audio(folder), "nothing", *segment], "", "has no picture 'nothing'"),
        ([audio(folder), "picture1", "--start", "5", "--end", "6"], "", "start and end='5 to 6': must be a segment"),
        ([audio(folder), "picture1"], "", "name WAV, IMAGE and --word, or WAV, IMAGE, --start and --end"),
        ([audio(folder), "picture1", "--word", "dog"], "", "--alignment=None: is needed: the times of spoken words"),
        ([audio(folder), "picture1", *segment, "--alignment", "x.ctm"], "", "--alignment='x.ctm': gives the times"),
        ([audio(folder), "picture1", "--word", "dog", *segment], "", "name WAV, IMAGE and --word"),
        (["--data", str(folder / "data")], "", "or --data and --objects"),
        (["--data", str(folder / "data"), "--objects", "o.tsv"], "", "--alignment=None: is needed"),
        (
            [
                "--data",
                str(folder / "data"),
                "--split",
                "valid",
                "--objects",
                str(folder / "boxes.tsv"),
                "--alignment",
                str(folder / "nothing.ctm"),
            ],
            "",
            "has no word whose object has a box",
        ),
    ]
    for arguments, images, named in cases:
        assert localise(folder, *arguments, images=images or "data/images.safetensors") == 2
        line = capsys.readouterr().err
        assert named in line
        assert line.count("\n") == 1
