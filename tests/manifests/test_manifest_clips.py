"""``fairseq-parp manifest captions`` on small trees in the layout of MSR-VTT and of S-MiT beside Moments in Time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_parp import cli

SENTENCES = [("video0", "a car is shown"), ("video1", "a man sings"), ("video0", "someone drives"), ("video2", "a dog")]


@pytest.fixture
def msrvtt(tmp_path: Path) -> Path:
    """MSR-VTT: sentences and the splits of the videos in one file, the tables of the 9k and 1k-A splits beside."""
    folder = tmp_path / "MSRVTT"
    folder.mkdir()
    splits = {"video0": "train", "video1": "validate", "video2": "train"}
    given = {
        "info": {"year": "2016"},
        "videos": [{"video_id": name, "split": split, "category": 1, "id": 0} for name, split in splits.items()],
        "sentences": [{"caption": text, "video_id": name, "sen_id": n} for n, (name, text) in enumerate(SENTENCES)],
    }
    (folder / "train_val_videodatainfo.json").write_text(json.dumps(given))
    (folder / "MSRVTT_train.9k.csv").write_text("video_id\nvideo0\nvideo2\n")
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(
        'key,vid_key,video_id,sentence\nret0,msr1,video1,"a man, singing"\n'
    )
    return folder


def captions(*words: object) -> int:
    return cli.main(["manifest", "captions", *map(str, words)])


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def test_msrvtts_own_splits_are_those_of_the_videos(
    msrvtt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = tmp_path / "data", msrvtt / "train_val_videodatainfo.json"
    assert captions(f"train={file}", f"valid={file}", "--out", data) == 0
    assert "train: 3 written captions, 2 pictures" in capsys.readouterr().out
    assert sorted(each.name for each in data.iterdir()) == ["train.img", "train.wrd", "valid.img", "valid.wrd"]
    pairs = list(zip(lines(data / "train.img"), lines(data / "train.wrd"), strict=True))
    assert pairs == [("video0", "a car is shown"), ("video0", "someone drives"), ("video2", "a dog")]
    assert lines(data / "valid.img") == ["video1"]


def test_msrvtts_tables_take_their_sentences_from_the_json_file_where_they_have_none(
    msrvtt: Path, tmp_path: Path
) -> None:
    data, lists = tmp_path / "data", {"train": "MSRVTT_train.9k.csv", "test": "MSRVTT_JSFUSION_test.csv"}
    given = [f"{split}={msrvtt / name}" for split, name in lists.items()]
    assert captions(*given, "--text", msrvtt / "train_val_videodatainfo.json", "--out", data) == 0
    assert lines(data / "train.wrd") == ["a car is shown", "someone drives", "a dog"]
    assert (lines(data / "test.img"), lines(data / "test.wrd")) == (["video1"], ["a man, singing"])


def test_spoken_captions_lie_at_the_paths_of_their_clips(
    tmp_path: Path, audio: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root, data = tmp_path / "S-MiT", tmp_path / "data"
    audio(root / "baking/one_1.wav")
    audio(root / "diving/two_2.flac")
    (tmp_path / "trainingSet.csv").write_text("baking/one_1.mp4,baking,3,0\ndiving/two_2.mp4,diving,4,0\n")
    assert captions(f"train={tmp_path / 'trainingSet.csv'}", "--root", root, "--out", data) == 0
    assert "train: 2 utterances" in capsys.readouterr().out
    assert lines(data / "train.tsv") == [str(root), "baking/one_1.wav\t16000", "diving/two_2.flac\t16000"]
    assert lines(data / "train.img") == ["baking/one_1", "diving/two_2"]


BAD: dict[str, tuple[str, str, list[str], str]] = {
    "no such split": ("test=train_val_videodatainfo.json", "", [], "has no videos of the split 'test', but"),
    "a table without sentences": ("train=MSRVTT_train.9k.csv", "", [], "'video0' has no sentence; --text names"),
    "a video without sentences": (
        "train=t.csv", "video_id\nvideo9\n", ["--text", "train_val_videodatainfo.json"], "t.csv:2: 'video9' has no",
    ),
    "an empty sentence": ("train=t.csv", "video_id,sentence\nvideo0,\n", [], "t.csv:2: 'video0' has no sentence"),
    "no clip": ("train=t.csv", "baking\n", [], "t.csv:1: 'baking' is not CLASS/NAME.mp4"),
    "no audio of a clip": ("train=t.csv", "baking/one.mp4,baking\n", [], "baking/one.wav"),
    "no sentences": ("train=MSRVTT_train.9k.csv", "{}", ["--text", "t.csv"], "t.csv: no sentences of MSR-VTT"),
    "audio of written captions": (
        "train=train_val_videodatainfo.json", "", ["--audio", "out"], "--audio='out': is for spoken captions",
    ),
    "spoken and written": (
        "train=train_val_videodatainfo.json valid=t.csv", "baking/one.mp4,baking\n", [], "is written, captions of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_goes_wrong_is_named_and_nothing_is_written(
    case: str, msrvtt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lists, table, more, named = BAD[case]
    monkeypatch.chdir(msrvtt)
    Path("t.csv").write_text(table or "\n")
    assert captions(*lists.split(), *more, "--out", "data") in (1, 2)
    assert named in capsys.readouterr().err
    assert not Path("data").exists()
