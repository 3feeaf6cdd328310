"""``fairseq-parp manifest captions`` on small trees in the layout of SpokenCOCO, Places and Flickr8k audio."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from fairseq_parp import cli
from fairseq_parp.manifests.checking import check_folder

COCO = "val2014/COCO_val2014_000000325114.jpg"


def caption(wav: str, text: str = "A URINAL IN A PUBLIC RESTROOM") -> dict[str, str]:
    return {"text": text, "speaker": "m071", "uttid": Path(wav).stem, "wav": wav}


def save_list(file: Path, entries: list[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"image_base_path": "/x", "audio_base_path": "/y", "data": entries}))
    return file


@pytest.fixture
def coco(tmp_path: Path, audio: Callable[..., Path]) -> Path:
    """SpokenCOCO: captions of a picture together, at 48 kHz."""
    root = tmp_path / "SpokenCOCO"
    for name in ("train/0/a", "train/0/b", "train/1/c", "val/0/d", "val/0/e"):
        audio(root / f"wavs/{name}.wav", 30_000, 48_000)
    entries = [
        {"image": COCO, "captions": [caption("wavs/train/0/a.wav"), caption("wavs/train/0/b.wav", "TWO")]},
        {"image": "train2014/COCO_train2014_000000000009.jpg", "captions": [caption("wavs/train/1/c.wav")]},
    ]
    save_list(root / "SpokenCOCO_train.json", entries)
    unrolled = [{"image": f"val2014/{name}.jpg", "caption": caption(f"wavs/val/0/{name}.wav")} for name in "de"]
    save_list(root / "SpokenCOCO_val.json", unrolled)
    return root


@pytest.fixture
def places(tmp_path: Path, audio: Callable[..., Path]) -> Path:
    """Places: lists in a folder of their own, one caption an entry, texts of a recogniser that may be empty."""
    root = tmp_path / "PlacesAudio_400k_distro"
    entries = []
    for number, text in enumerate(("there is a bridge", "", "a church")):
        audio(root / f"wavs/{number % 2}/utterance_{number}.wav")
        image = f"b/bridge/gsun_{number % 2}.jpg"
        entries.append(
            {"uttid": f"u{number}", "speaker": "s", "asr_text": text, "image": image}
            | {"wav": f"wavs/{number % 2}/utterance_{number}.wav"}
        )
    save_list(root / "metadata/train.json", entries)
    return root


@pytest.fixture
def flickr(tmp_path: Path, audio: Callable[..., Path]) -> Path:
    """Flickr8k: captions and audio in one folder, splits and texts in another; a picture that is in no split."""
    root, texts = tmp_path / "flickr_audio", tmp_path / "Flickr8k_text"
    texts.mkdir()
    lines, tokens = [], []
    for picture in ("1000_aa.jpg", "2000_bb.jpg", "2258_cc.jpg.1"):
        for number in range(2):
            wav = f"{picture.removesuffix('.jpg')}_{number}.wav"
            audio(root / "wavs" / wav)
            lines.append(f"{wav} {picture} #{number}\n")
            tokens.append(f"{picture}#{number}\tA dog , caption {number} of {picture} .\n")
    (root / "wav2capt.txt").write_text("".join(lines))
    (texts / "Flickr8k.token.txt").write_text("".join(tokens))
    (texts / "Flickr_8k.trainImages.txt").write_text("2000_bb.jpg\n")
    (texts / "Flickr_8k.devImages.txt").write_text("1000_aa.jpg\n")
    return root


def captions(*words: object) -> int:
    return cli.main(["manifest", "captions", *map(str, words)])


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_spokencoco_is_converted_and_captions_keep_their_picture(
    coco: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, clips = tmp_path / "data", tmp_path / "clips"
    lists = [f"train={coco / 'SpokenCOCO_train.json'}", f"valid={coco / 'SpokenCOCO_val.json'}"]
    assert captions(*lists, "--out", data, "--audio", clips) == 0
    assert "train: 3 utterances, 0.0 min, 2 pictures" in capsys.readouterr().out
    root, *rows = lines(data / "train.tsv")
    assert root == str(clips)
    assert [row.split("\t")[0] for row in rows] == [f"wavs/train/{name}.flac" for name in ("0/a", "0/b", "1/c")]
    assert soundfile.info(clips / "wavs/train/0/a.flac").samplerate == 16_000
    assert lines(data / "train.img") == [COCO, COCO, "train2014/COCO_train2014_000000000009.jpg"]
    assert lines(data / "train.wrd")[1] == "TWO"
    assert lines(data / "valid.img") == ["val2014/d.jpg", "val2014/e.jpg"]
    assert not [report.problems for report in check_folder(data) if report.problems]


def test_places_has_its_audio_beside_the_lists_and_empty_texts(
    places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert captions(f"train={places / 'metadata/train.json'}", "--root", places, "--out", data) == 0
    assert "no .wrd: 1 captions have no text" in capsys.readouterr().out
    assert sorted(file.name for file in data.iterdir()) == ["train.img", "train.tsv"]
    assert lines(data / "train.img") == [f"b/bridge/gsun_{number}.jpg" for number in (0, 1, 0)]
    assert lines(data / "train.tsv")[1] == "wavs/0/utterance_0.wav\t16000"


def test_flickr8k_takes_the_captions_of_a_splits_pictures(flickr: Path, tmp_path: Path) -> None:
    texts, data = tmp_path / "Flickr8k_text", tmp_path / "data"
    lists = [f"{split}={texts}/Flickr_8k.{name}Images.txt" for split, name in (("train", "train"), ("valid", "dev"))]
    assert captions(*lists, "--root", flickr, "--out", data, "--text", texts / "Flickr8k.token.txt") == 0
    assert lines(data / "train.img") == ["2000_bb.jpg"] * 2
    assert [line.split("\t")[0] for line in lines(data / "valid.tsv")[1:]] == [
        "wavs/1000_aa_0.wav",
        "wavs/1000_aa_1.wav",
    ]
    assert lines(data / "valid.wrd") == [f"A dog , caption {number} of 1000_aa.jpg ." for number in range(2)]


def _entries(*entries: Any) -> Callable[[Path], object]:
    return lambda coco: save_list(coco / "SpokenCOCO_train.json", list(entries))


ONE = {"image": COCO, "captions": [caption("wavs/train/0/a.wav")]}
BAD: dict[str, tuple[Callable[[Path], object], list[str], list[str]]] = {
    "another rate": (lambda _: None, [], ["data[0].captions[0]: wavs/train/0/a.wav: 48000 Hz"]),
    "missing audio": (
        lambda coco: (coco / "wavs/train/0/b.wav").unlink(), [], ["data[0].captions[1]:", "wavs/train/0/b.wav"],
    ),
    "damaged audio": (
        lambda coco: (coco / "wavs/train/1/c.wav").write_text("none"), [], ["data[1].captions[0]:", "c.wav"],
    ),
    "no image": (_entries({"captions": []}), [], ["data[0] has no image"]),
    "no captions": (_entries({"image": COCO, "captions": []}), [], [f"data[0] ({COCO}) has no captions"]),
    "no wav": (_entries({"image": COCO, "captions": [{"text": "A"}]}), [], ["data[0].captions[0] has no wav"]),
    "audio twice": (_entries(ONE, ONE), [], ["data[1].captions[0]: wavs/train/0/a.wav of train is also in train"]),
    "audio in two splits": (
        lambda _: None, ["valid=SpokenCOCO_train.json"], ["wavs/train/0/a.wav of valid is also in train"],
    ),
    "a path out of the root": (
        _entries({"image": COCO, "captions": [caption("../../a.wav")]}), [], ["a.wav' leaves the root"],
    ),
    "no list": (lambda coco: (coco / "SpokenCOCO_train.json").write_text("[1]"), [], ["no list of captions"]),
    "no JSON": (lambda coco: (coco / "SpokenCOCO_train.json").write_text("{"), [], ["no list of captions"]),
    "missing": (lambda coco: (coco / "SpokenCOCO_train.json").unlink(), [], ["SpokenCOCO_train.json", "no such file"]),
    "a split's name": (lambda _: None, ["a/b=SpokenCOCO_val.json"], ["SPLIT=LIST='a/b'"]),
    "a split twice": (lambda _: None, ["train=SpokenCOCO_val.json"], ["SPLIT=LIST='train'", "given twice"]),
    "texts of Flickr8k": (lambda _: None, ["--text", "t.txt"], ["--text='t.txt'", "is for Flickr8k"]),
    "captions of Flickr8k": (
        lambda coco: (coco / "i.txt").write_text("1.jpg\n"), ["valid=i.txt"], ["wav2capt.txt", "no such file"],
    ),
    "a picture without captions": (
        lambda coco: [(coco / "i.txt").write_text("1.jpg\n"), (coco / "wav2capt.txt").write_text("a.wav 2.jpg #0\n")],
        ["valid=i.txt"], ["1.jpg has no caption in wav2capt.txt"],
    ),
    "a damaged line": (
        lambda coco: [(coco / "i.txt").write_text("2.jpg\n"), (coco / "wav2capt.txt").write_text("a.wav 2.jpg\n")],
        ["valid=i.txt"], ["wav2capt.txt:1: 'a.wav 2.jpg' is not AUDIO IMAGE #NUMBER"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_goes_wrong_is_named_and_nothing_is_written(
    case: str, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, words, named = BAD[case]
    monkeypatch.chdir(coco)
    spoil(coco)
    assert captions("train=SpokenCOCO_train.json", *words, "--out", "data") in (1, 2)
    shown = capsys.readouterr().err
    assert all(part in shown for part in named), shown
    assert not Path("data").exists()
