"""``fairseq-parp images import`` of region features in LXMERT's layout, on small files with what goes wrong in them."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fairseq_parp import cli
from fairseq_parp.grounded.features import Features

REGIONS, WIDTH = 3, 5
NAMES = {"train2014": ["COCO_train2014_07", "COCO_train2014_02"], "val2014": ["COCO_val2014_05"]}
Arrays = tuple[np.ndarray, np.ndarray]


def encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.astype(np.float32).tobytes()).decode()


def line(name: str, boxes: np.ndarray, features: np.ndarray) -> list[str]:
    """A picture of 480 x 640 pixels (height, width), as LXMERT's script writes it."""
    ids, confidence = base64.b64encode(np.arange(len(boxes))).decode(), encoded(np.ones(len(boxes)))
    fields = [name, "480", "640", ids, confidence, ids, confidence, str(len(boxes))]
    return [*fields, encoded(boxes), encoded(features)]


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Arrays]:
    """Boxes in pixels and features by picture; ``train2014_obj36.tsv`` and ``val2014_obj36.tsv`` have them."""
    chance, made = np.random.default_rng(1), {}
    for split, names in NAMES.items():
        with (tmp_path / f"{split}_obj36.tsv").open("w", newline="") as file:
            for name in names:
                boxes = chance.uniform(0, 240, (REGIONS, 4)) * [1, 1, 2, 2]
                made[name] = boxes, chance.normal(size=(REGIONS, WIDTH))
                csv.writer(file, delimiter="\t").writerow(line(name, *made[name]))
    return made


def run(folder: Path, *more: str, sources: tuple[str, ...] = ("train2014_obj36.tsv", "val2014_obj36.tsv")) -> int:
    files = [str(folder / name) for name in sources]
    return cli.main(["images", "import", *files, "--encoder", "obj36", "-o", str(folder / "out"), *more])


def require_same(features: Features, names: dict[str, str], published: dict[str, Arrays]) -> None:
    """Compare with what was published; ``names`` has the published name of each id."""
    assert sorted(features.ids) == sorted(names)
    assert (features.regions, features.width, features.encoder) == (REGIONS, WIDTH, "obj36")
    for row, name in enumerate(features.ids):
        values, boxes = features[row]
        pixels, expected = published[names[name]]
        torch.testing.assert_close(values, torch.tensor(expected).half().float())
        torch.testing.assert_close(boxes, torch.tensor(pixels / [640, 480, 640, 480]).float())


def test_all_pictures_of_several_files_are_taken_under_their_names(
    published: dict[str, Arrays], tmp_path: Path
) -> None:
    assert run(tmp_path) == 0
    require_same(Features(tmp_path / "out"), {name: name for name in published}, published)


def test_the_pictures_of_spokencocos_lists_are_taken_under_the_lists_ids(
    published: dict[str, Arrays], tmp_path: Path
) -> None:
    images = {"train": ["train2014/COCO_train2014_02.jpg", "val2014/COCO_val2014_05.jpg"], "val": []}
    for split, names in images.items():
        captions = [{"image": name, "captions": []} for name in [*names, *names]]
        (tmp_path / f"SpokenCOCO_{split}.json").write_text(json.dumps({"data": captions}))
    assert run(tmp_path, "--ids", *(str(tmp_path / f"SpokenCOCO_{split}.json") for split in images)) == 0
    named = {name: Path(name).stem for name in images["train"]}
    require_same(Features(tmp_path / "out"), named, published)


def _rewritten(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    """Change the fields of the last line of the first file."""

    def spoil(folder: Path) -> None:
        file = folder / "train2014_obj36.tsv"
        *kept, last = file.read_text().splitlines()
        file.write_text("\n".join([*kept, "\t".join(change(last.split("\t")))]) + "\n")

    return spoil


BAD: dict[str, tuple[Callable[[Path], object], list[str], tuple[str, ...]]] = {
    "a picture without a line": (
        lambda d: (d / "ids").write_text("val2014/COCO_val2014_05.jpg\nval2014/COCO_val2014_99.jpg\n"),
        ["--ids", "ids"],
        ("1 picture(s) have no line", "COCO_val2014_99.jpg"),
    ),
    "no picture is asked for": (lambda d: (d / "ids").write_text(""), ["--ids", "ids"], ("ids: has no ids",)),
    "a picture twice": (_rewritten(lambda f: ["COCO_train2014_07", *f[1:]]), [], ("line 2", "occurs twice")),
    "fewer fields": (_rewritten(lambda f: f[:-1]), [], ("train2014_obj36.tsv: line 2", "9 fields, not 10")),
    "no base64": (_rewritten(lambda f: [*f[:-1], "&&&&"]), [], ("line 2: no regions as LXMERT's",)),
    "a cut line": (_rewritten(lambda f: [*f[:-1], f[-1][:-8]]), [], ("line 2: no regions as LXMERT's",)),
    "no number": (_rewritten(lambda f: [f[0], "high", *f[2:]]), [], ("line 2: no regions as LXMERT's",)),
    "a picture without a height": (_rewritten(lambda f: [f[0], "0", *f[2:]]), [], ("line 2", "without a size")),
    "fewer regions": (
        _rewritten(lambda f: line(f[0], np.ones((2, 4)), np.ones((2, WIDTH)))), [],
        ("line 2", "features of shape (2, 5); the first picture has (3, 5)"),
    ),
    "boxes beyond the picture": (
        _rewritten(lambda f: line(f[0], np.full((REGIONS, 4), 900.0), np.ones((REGIONS, WIDTH)))), [],
        ("line 2", "boxes reach from"),
    ),
    "another kind of file": (lambda d: (d / "val2014_obj36.tsv").write_bytes(b"\xff\xfe\t"), [], ("not UTF-8 text",)),
    "a missing file": (lambda d: (d / "val2014_obj36.tsv").unlink(), [], ("val2014_obj36.tsv", "no such file")),
    "boxes beside": (lambda _: None, ["--boxes", "b.npy"], ("--boxes='b.npy': goes with an array",)),
    "frames": (lambda _: None, ["--frames"], ("--frames=True: goes with an array",)),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_line_and_nothing_is_written(
    case: str,
    published: dict[str, Arrays],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil, arguments, named = BAD[case]
    monkeypatch.chdir(tmp_path)
    assert published
    spoil(tmp_path)
    assert run(tmp_path, *arguments) == 2
    shown = capsys.readouterr().err
    assert all(part in shown for part in named), shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_arrays_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, sources=("a.npy", "b.tsv")) == 2
    assert "must be one .npy or .npz, or files .tsv alone" in capsys.readouterr().err
