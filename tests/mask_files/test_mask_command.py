"""``fairseq-parp mask`` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fairseq_parp import cli
from fairseq_parp.mask_files.comparing import compare, within
from fairseq_parp.mask_files.counts import zeros_in, zeros_of
from fairseq_parp.mask_files.heatmap import draw
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.magnitude import random_mask

SHAPES = {f"encoder.layers.{layer}.{kind}.weight": (40, 25) for layer in range(3) for kind in ("fc1", "fc2")}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two independent masks of sparsity 0.5, the second one under a finetuned model's names."""
    one, two = (random_mask(SHAPES, 0.5, seed) for seed in (1, 2))
    two = two.renamed([f"w2v_encoder.w2v_model.{name}" for name in SHAPES])
    (tmp_path / "german").mkdir()
    paths = [tmp_path / "mask.safetensors", tmp_path / "german" / "mask.safetensors"]
    for mask, path in zip((one, two), paths, strict=True):
        mask.save(path)
    return [str(path) for path in paths]


def test_show(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mask", "show", files[0]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3,000 zeros of 6,000 weights, sparsity 0.500000"
    assert [line.split()[0] for line in lines if line.startswith(("encoder", "fc"))] == [
        "encoder.layers.0", "encoder.layers.1", "encoder.layers.2", "fc1", "fc2",
    ]  # fmt: skip
    assert cli.main(["mask", "show", files[0], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["prunable"] == {"zeros": 3000, "size": 6000, "sparsity": 0.5}
    assert sum(layer["zeros"] for layer in shown["layers"].values()) == 3000


def test_numpy_counts_a_mask_file_as_torch_does(tmp_path: Path) -> None:
    shapes = {"layers.0.fc1.bias": (5,), "layers.0.fc1.weight": (3, 7), "layers.1.fc2.weight": (8, 4), "none": (0,)}
    mask = random_mask(shapes, 0.4, 3)
    mask.save(tmp_path / "mask.safetensors")
    assert zeros_in(tmp_path / "mask.safetensors") == zeros_of(mask)
    assert zeros_of(mask).overall.zeros == mask.zeros() == 23


def test_overlap_as_text_and_as_json_agree(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mask", "overlap", *files, "--baseline", files[0], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(mask["name"]).parts[-2:] for mask in found["masks"]] == [Path(file).parts[-2:] for file in files]
    (pair,) = found["pairs"]
    assert abs(pair["overall"]["iou"] - 1 / 3) < 0.03
    assert abs(pair["overall"]["chance"] - 1 / 3) < 0.001
    assert set(pair["layers"]) == {f"encoder.layers.{layer}" for layer in range(3)}
    assert set(pair["kinds"]) == {"fc1", "fc2"}
    assert found["baselines"][0]["overall"]["iou"] == 1.0
    assert cli.main(["mask", "overlap", *files, "--baseline", files[0]]) == 0
    text = capsys.readouterr().out
    assert f"{pair['overall']['iou']:.4f} ({pair['overall']['chance']:.4f})" in text
    assert "A-B" in text
    assert "B-baseline" in text


def test_the_cosine_stands_beside_its_chance(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "cosine.png"
    assert cli.main(["mask", "overlap", *files, "--measure", "cosine", "--plot", str(picture)]) == 0
    text = capsys.readouterr().out
    assert picture.stat().st_size > 0
    assert text.startswith("Cosine of the masks; in brackets")
    assert cli.main(["mask", "overlap", *files, "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    assert f"{pair['kinds']['fc1']['cosine']:.4f} ({pair['kinds']['fc1']['cosine_chance']:.4f})" in text
    assert abs(pair["overall"]["cosine_chance"] - 0.5) < 0.001


def test_a_mask_is_cut_to_the_parameters_of_another() -> None:
    large = random_mask({f"encoder.{name}": shape for name, shape in SHAPES.items()}, 0.5, 1)
    small = random_mask(dict(list(SHAPES.items())[:2]), 0.5, 2)
    cut = within(large, small)
    assert list(cut.bits) == [f"encoder.{name}" for name in small.bits]
    assert within(small, large) is small


def test_the_heat_map_shows_every_mask(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["mask", "overlap", *files, "--plot", str(tmp_path / "new" / "o.png")]) == 0
    assert str(tmp_path / "new" / "o.png") in capsys.readouterr().out
    image = (tmp_path / "new" / "o.png").read_bytes()
    assert image.startswith(b"\x89PNG")
    many = {str(seed): random_mask(SHAPES, 0.5, seed) for seed in range(5)}
    draw(compare(many, many["0"]), tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > len(image)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["overlap", "{0}"], "MASK=1: from 2 to 52 masks can be compared"),
        (["overlap", "{0}", "{other}"], "other.safetensors against "),
        (["overlap", "{0}", "{0}", "--baseline", "{other}"], "the baseline against "),
        (["show", "nothing"], "no mask file at /"),
        (["make", "{0}", "--sparsity", "1.5", "-o", "{out}"], "--sparsity=1.5: must be a number in [0, 1)"),
        (["make", "{0}", "--sparsity", "0.5", "-o", "{out}"], "mask.safetensors: "),
        (["apply", "{0}", "{0}", "-o", "{out}"], "mask.safetensors: "),
    ],
)
def test_bad_input_ends_in_one_line(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    MaskSet.of_nonzero({"w": torch.ones(3)}).save(tmp_path / "other.safetensors")
    places = {"other": tmp_path / "other.safetensors", "out": tmp_path / "out"}
    assert cli.main(["mask", *(word.format(*files, **places) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fairseq-parp mask: ")
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
