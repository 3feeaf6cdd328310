"""``images.safetensors`` that do not hold what they have to: one line names the file and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fairseq_parp.errors import ImagesError
from fairseq_parp.grounded.features import Features, write_features

IDS = ["a", "b", "c"]


def written(file: Path, ids: object = IDS, rows: int = 3, boxes: torch.Tensor | None = None) -> None:
    tensors = {"features": torch.ones(rows, 2, 4)} | ({} if boxes is None else {"boxes": boxes})
    save_file(tensors, file, {"ids": json.dumps(ids), "encoder": "made up"})


def cut(file: Path) -> None:
    write_features(file, IDS, torch.ones(3, 2, 4), "made up")
    file.write_bytes(file.read_bytes()[:-5])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda _: None, "no such file; fairseq-parp images embed, or images import, writes such a file"),
    "text": (lambda file: file.write_text("features"), "has no features of pictures"),
    "a pickle": (lambda file: torch.save({"features": torch.ones(3, 2, 4)}, file), "has no features of pictures"),
    "cut": (cut, "has no features of pictures"),
    "other tensors": (lambda file: save_file({"weight": torch.ones(2)}, file), "has no features of pictures"),
    "ids that are no JSON": (
        lambda file: save_file({"features": torch.ones(3, 2, 4)}, file, {"ids": "a, b", "encoder": "e"}),
        "has no features of pictures",
    ),
    "a text as ids": (lambda file: written(file, ids="abc"), "has no features of pictures"),
    "numbers as ids": (lambda file: written(file, ids=[1, 2, 3]), "has no features of pictures"),
    "an id twice": (lambda file: written(file, ids=["a", "b", "a"]), "has a picture's id twice"),
    "more rows than ids": (lambda file: written(file, rows=4), "has 4 rows of features and 3 ids"),
    "boxes of fewer regions": (lambda file: written(file, boxes=torch.ones(3, 1, 4)), "has boxes of shape [3, 1, 4]"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_without_features_is_refused_when_it_is_opened(case: str, tmp_path: Path) -> None:
    write, named = BAD[case]
    file = tmp_path / "images.safetensors"
    write(file)
    with pytest.raises(ImagesError) as stopped:
        Features(file)
    assert f"{file}: {named}" in str(stopped.value)


@pytest.mark.parametrize("edge", [float("nan"), 224.0, -1.0])
def test_boxes_that_are_no_fractions_are_refused_with_the_pictures_id(edge: float, tmp_path: Path) -> None:
    boxes = torch.rand(3, 2, 4)
    boxes[1, 0, 2] = edge
    written(tmp_path / "f", boxes=boxes)
    features = Features(tmp_path / "f")
    assert torch.equal(features.boxes([0, 2]), boxes[[0, 2]])
    with pytest.raises(ImagesError, match="picture 'b' has boxes beyond 0 to 1 or NaN"):
        features[1]
