"""``fairseq-parp retrieve`` on a checkpoint of a real training: numbers, rankings, the contact sheet, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf
from PIL import Image

from fairseq_parp import cli
from fairseq_parp.grounded.features import Features, write_features
from fairseq_parp.grounded.recall import ranks, recalls
from fairseq_parp.retrieval.embedding import embed_split
from fairseq_parp.retrieval.loading import load_grounded
from fairseq_parp.retrieval.sheet import ROWS
from fairseq_parp.transcription.audio import read_audio

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (200, 0, 200), (0, 200, 200), (90, 90, 90)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data folder, its pictures (each of one colour) and checkpoints of short trainings."""
    folder = tmp_path_factory.mktemp("retrieve")
    recipe: Any = OmegaConf.create(small.recipe(folder))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 2
    made: dict[str, Any] = OmegaConf.to_container(recipe)  # type: ignore[assignment]
    train(made, folder / "run", method="dense")
    speech = {"criterion": {"_name": "grounded", "alpha": 0.0}, "checkpoint": {"no_epoch_checkpoints": True}}
    train(made | speech, folder / "speech", method="dense")
    tiny.make_pretrained(folder / "plain.pt")
    (folder / "pictures").mkdir()
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (50, 40), colour).save(folder / "pictures" / f"picture{number}", format="png")
    return folder


def retrieve(
    folder: Path, *arguments: str, checkpoint: str = "run/checkpoint_last.pt", data: Path | None = None
) -> int:
    at = ["--data", str(data or folder / "data"), "--split", "valid"]
    return cli.main(["retrieve", str(folder / checkpoint), *at, *arguments])


def test_recall_is_that_of_embeddings_made_one_by_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert retrieve(folder, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["captions"], shown["images"]) == (9, 7)
    grounded, features = load_grounded(folder / "run/checkpoint_last.pt"), Features(folder / "data/images.safetensors")
    root, *lines = (folder / "data/valid.tsv").read_text().splitlines()
    captions, images = [], []
    with torch.no_grad():
        for line in lines:
            audio = read_audio(Path(root, line.split("\t")[0]), 16000, False)[:14000]
            audio = torch.nn.functional.layer_norm(audio, audio.shape)
            captions.append(grounded.model.embed_captions(audio[None])[0])
        for row in range(small.PICTURES):
            values, boxes = features[row]
            assert boxes is not None
            images.append(grounded.model.embed_images(values[None], boxes[None])[0])
    found = embed_split(grounded, folder / "data", "valid")
    torch.testing.assert_close(found.captions, torch.stack(captions), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.images, torch.stack(images), rtol=1e-3, atol=1e-4)
    owners = torch.arange(9) % small.PICTURES
    assert found.owners.tolist() == owners.tolist()
    expected = recalls(ranks(torch.stack(captions), torch.stack(images), owners))
    assert {f"{each['way']}_r{each['k']}": each["value"] for each in shown["recall"]}.items() <= expected.items()
    assert all(each["low"] <= each["value"] <= each["high"] for each in shown["recall"])


def test_the_sheet_shows_the_pictures_in_the_order_of_the_rankings(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = {name: str(tmp_path / name) for name in ("ranks.tsv", "sheet.png")}
    given = ["--rankings", out["ranks.tsv"], "--sheet", out["sheet.png"], "--pictures", str(folder / "pictures")]
    assert retrieve(folder, *given) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert "9 captions, 7 pictures" in printed
    assert sum(line.startswith("image to speech") for line in printed.splitlines()) == 3
    rows = [line.split("\t") for line in Path(out["ranks.tsv"]).read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["s2i"] * 9 + ["i2s"] * 7
    pixels = np.asarray(Image.open(out["sheet.png"]).convert("RGB")).astype(int)
    seen = np.full(pixels.shape[:2], -1)
    for number, colour in enumerate(COLOURS):
        seen[(np.abs(pixels - colour) < 3).all(2)] = number
    height = pixels.shape[0] / min(9, ROWS)
    for number, row in enumerate(rows[:9]):  # fewer captions than rows: all are shown, in order
        line = seen[int((number + 0.5) * height)]
        order = [int(here) for here, after in pairwise(line) if here >= 0 and after != here]
        assert [f"picture{each}" for each in dict.fromkeys(order)] == json.loads(row[4])


def _other_features(data: Path, encoder: str = "made up", width: int = small.WIDTH) -> None:
    ids = [f"picture{number}" for number in range(small.PICTURES)]
    shape = (small.PICTURES, small.REGIONS)
    write_features(data / "images.safetensors", ids, torch.randn(*shape, width), encoder, torch.rand(*shape, 4))


def _rewrite(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda data: (data / name).write_text(change((data / name).read_text()))


BAD: dict[str, tuple[Callable[[Path], object], list[str], str, tuple[str, ...]]] = {
    "one picture": (_rewrite("valid.img", lambda _: "picture1\n" * 9), [], "", ("valid.img", "shows 1 picture")),
    "captions alone": (lambda data: (data / "valid.img").unlink(), [], "", ("valid.img", "captions alone")),
    "ids without features": (
        _rewrite("valid.img", lambda text: text.replace("picture2", "none")), [], "", ("valid.img", "line 3 ('none')"),
    ),
    "no features": (lambda data: (data / "images.safetensors").unlink(), [], "", ("images.safetensors: no such file",)),
    "another encoder": (lambda data: _other_features(data, "other"), [], "", ("image encoder='made up'", "'other'")),
    "another width": (lambda data: _other_features(data, width=5), [], "", ("image width=6", "width 5")),
    "words that do not line up": (lambda data: (data / "valid.wrd").write_text("a\n"), [], "", ("valid.wrd", "1 line")),
    "a plain checkpoint": (lambda _: None, [], "plain.pt", ("plain.pt", "the model wav2vec2")),
    "trained without pictures": (lambda _: None, [], "speech/checkpoint_last.pt", ("speech", "criterion.alpha=0")),
    "features in place of a checkpoint": (lambda _: None, [], "data/images.safetensors", ("images.safetensors",)),
    "no such split": (lambda _: None, ["--split", "none"], "", ("none.tsv",)),
    "a sheet without pictures": (lambda _: None, ["--sheet", "s.png"], "", ("--sheet", "--pictures DIR")),
    "no folder of pictures": (
        lambda _: None, ["--sheet", "s.png", "--pictures", "none"], "", ("none", "no such folder"),
    ),
    "no picture files": (lambda _: None, ["--sheet", "s.png", "--pictures", "."], "", ("has no file for ",)),
    "no pictures, and audio that is none": (
        lambda data: [audio.write_text("no audio") for audio in Path(data).glob("valid-*.flac")],
        ["--sheet", "s.png", "--pictures", "none"], "", ("none", "no such folder"),
    ),
    "pictures that are none": (
        lambda _: [Path(f"picture{number}").write_text("no picture") for number in range(small.PICTURES)],
        ["--sheet", "s.png", "--pictures", "."], "", ("picture", "cannot be read as a picture"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line(
    case: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, arguments, checkpoint, named = BAD[case]
    data = small.corpus(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    spoil(data)
    given = {"checkpoint": checkpoint} if checkpoint else {}
    assert retrieve(folder, *arguments, data=data, **given) == 2  # type: ignore[arg-type]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fairseq-parp retrieve: ")
    assert all(part in last for part in named), last
    assert not Path("s.png").exists()
