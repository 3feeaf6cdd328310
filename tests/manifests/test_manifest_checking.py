"""The check of a folder: sound folders pass, and every kind of fault is found at its file and line."""

from __future__ import annotations

import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fairseq_parp.errors import ManifestError
from fairseq_parp.manifests import checking
from fairseq_parp.manifests.audio import read_header
from fairseq_parp.manifests.checking import check_folder, check_split, missing_files, require
from fairseq_parp.manifests.ctc import ctc_fault, encoder_frames, frames_needed
from fairseq_parp.manifests.reading import Location

Edit = Callable[[Path], object]


def edited(name: str, old: str, new: str) -> Edit:
    """Replaces text in one file of the folder."""

    def edit(folder: Path) -> None:
        content = (folder / name).read_text()
        assert old in content
        (folder / name).write_text(content.replace(old, new))

    return edit


def removed(name: str) -> Edit:
    return lambda folder: (folder / name).unlink()


def cut_short(name: str) -> Edit:
    """Keeps the first half of a file, as an interrupted copy does."""

    def edit(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return edit


QUICK: list[tuple[Edit, list[str]]] = [
    (removed("train.tsv"), ["FOLDER/train.tsv: no such file"]),
    (removed("train.ltr"), ["FOLDER/train.ltr: no such file"]),
    (removed("dict.ltr.txt"), ["FOLDER/dict.ltr.txt: no such file"]),
    (edited("train.tsv", "\t16000", "\t0"), ["FOLDER/train.tsv:2: frames '0' is not a whole number above 0"]),
    (edited("train.tsv", "/audio", "/nowhere"), ["FOLDER/train.tsv:1: root folder ROOT/nowhere does not exist"]),
    (removed("../audio/anna/2.flac"), ["FOLDER/train.tsv:3: no such file ROOT/audio/anna/2.flac"]),
    (edited("train.tsv", "ben/1", "carl/1"), ["FOLDER/train.tsv:4: no such file ROOT/audio/carl/1.wav"]),
    (edited("train.tsv", "ben/1.wav", "ben"), ["FOLDER/train.tsv:4: no such file ROOT/audio/ben"]),
    (
        edited("train.ltr", "O H |\n", ""),
        ["FOLDER/train.ltr:3: 2 lines for 3 utterances; line N belongs to line N + 1"],
    ),
    (edited("train.ltr", "O H |\n", "O H |\nO H |\n"), ["FOLDER/train.ltr:4: 4 lines for 3 utterances"]),
    (edited("train.tsv", "ben/1.wav\t12000\n", ""), ["FOLDER/train.ltr:3: 3 lines for 2 utterances"]),
    (edited("train.ltr", "T W O |", ""), ["FOLDER/train.ltr:2: no labels"]),
    (edited("train.ltr", "O H", "o h"), ["FOLDER/train.ltr:3: symbol 'h' is not in", "FOLDER/train.ltr:3: symbol 'o'"]),
    (
        edited("train.ltr", "H", "<unk>"),
        ["FOLDER/train.ltr:1: symbol '<unk>' is not in the dictionary (2 line(s): 1, 3)"],
    ),
    (edited("dict.ltr.txt", "T 1\n", ""), ["FOLDER/train.ltr:2: symbol 'T' is not in the dictionary (1 line(s): 2)"]),
    (
        edited("dict.ltr.txt", "T 1", "T"),
        ["FOLDER/dict.ltr.txt:9: 'T' is not SYMBOL COUNT", "FOLDER/train.ltr:2: symbol"],
    ),
]

FULL: list[tuple[Edit, list[str]]] = [
    (
        cut_short("../audio/anna/2.flac"),
        ["FOLDER/train.tsv:3: ROOT/audio/anna/2.flac: not readable as audio to its end"],
    ),
    (cut_short("../audio/ben/1.wav"), ["FOLDER/train.tsv:4: ben/1.wav: 12000 frames here, "]),
    (
        lambda folder: (folder / "../audio/ben/1.wav").write_text("no audio"),
        ["FOLDER/train.tsv:4: ROOT/audio/ben/1.wav: not readable as audio"],
    ),
    (
        edited("train.tsv", "\t16000", "\t16001"),
        ["FOLDER/train.tsv:2: anna/1.flac: 16001 frames here, 16000 in the audio"],
    ),
    (edited("train.wrd", "OH\n", ""), ["FOLDER/train.wrd:3: 2 lines for 3 utterances"]),
    (
        edited("train.ltr", "O H |", "O O H | " * 10),
        ["FOLDER/train.tsv:4: ben/1.wav: 40 labels need 50 encoder frames for CTC, 12000 samples give 37"],
    ),
]


def found(folder: Path, problems: list[str], expected: list[str]) -> bool:
    starts = [start.replace("FOLDER", str(folder)).replace("ROOT", str(folder.parent)) for start in expected]
    return len(problems) == len(starts) and all(map(str.startswith, problems, starts))


@pytest.mark.parametrize(("edit", "expected"), QUICK)
def test_quick_check(folder: Path, edit: Edit, expected: list[str]) -> None:
    require(folder, "train", "ltr")
    edit(folder)
    with pytest.raises(ManifestError) as raised:
        require(folder, "train", "ltr")
    assert found(folder, raised.value.problems, expected), raised.value.problems
    assert set(raised.value.problems) <= set(check_split(folder, "train", "ltr"))


@pytest.mark.parametrize(("edit", "expected"), FULL)
def test_full_check(folder: Path, edit: Edit, expected: list[str]) -> None:
    assert check_split(folder, "train", "ltr") == []
    edit(folder)
    problems = check_split(folder, "train", "ltr")
    assert found(folder, problems, expected), problems
    require(folder, "train", "ltr")  # the quick check opens no audio


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"rate": 8_000}, "ben/1.wav: 8000 Hz, 1 channel(s); 16000 Hz mono is needed"),
        ({"channels": 2}, "ben/1.wav: 16000 Hz, 2 channel(s); 16000 Hz mono is needed"),
        ({"frames": 0}, "ben/1.wav: no audio in it, 0 frames"),
    ],
)
def test_audio_of_the_wrong_kind(folder: Path, audio, made: dict[str, int], expected: str) -> None:
    audio(folder.parent / "audio/ben/1.wav", **{"frames": 12_000, **made})
    problems = check_split(folder, "train", "ltr")
    assert len(problems) == 1
    assert problems[0].startswith(f"{folder}/train.tsv:4: {expected}")
    if "rate" in made:
        assert problems[0].endswith("ffmpeg -i IN -ar 16000 -ac 1 OUT.flac")


def test_all_faults_are_collected(folder: Path) -> None:
    for edit, _ in [*QUICK[3:4], *QUICK[5:7], *QUICK[12:14], *FULL[-2:-1]]:
        edit(folder)
    lines = [re.match(rf"{folder}/([\w.]+:\d+): ", problem)[1] for problem in check_split(folder, "train", "ltr")]
    assert lines == ["train.tsv:2", "train.tsv:3", "train.tsv:4", *["train.ltr:1"], *["train.ltr:3"] * 2, "train.wrd:3"]


def test_the_error_is_one_line_that_counts_the_rest(folder: Path) -> None:
    QUICK[12][0](folder)
    with pytest.raises(
        ManifestError, match=r"^/.*train\.ltr:3: symbol 'h' .* \(and 1 more; fairseq-parp manifest check"
    ):
        require(folder, "train", "ltr")


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManifestError, match=rf"^{tmp_path}/nowhere: no such folder$"):
        require("nowhere", "train", "ltr")
    with pytest.raises(ManifestError, match=rf"^{tmp_path}/nowhere: no such folder$"):
        check_folder("nowhere")
    with pytest.raises(ManifestError, match=rf"^{tmp_path}: no manifest in this folder"):
        check_folder(tmp_path)


def test_symbols_of_a_checkpoint_stand_in_for_the_dictionary(folder: Path) -> None:
    (folder / "dict.ltr.txt").unlink()
    require(folder, "train", "ltr", symbols=["<s>", "<pad>", "</s>", "<unk>", *"|HELOWRDT"])
    with pytest.raises(ManifestError, match="symbol 'D' is not in the dictionary"):
        require(folder, "train", "ltr", symbols="|HELOWRT")
    (folder / "train.ltr").write_text("H E | <s> |\nT W O |\nO H |\n")
    with pytest.raises(ManifestError, match="symbol '<s>' is not in the dictionary"):  # it is the CTC blank
        require(folder, "train", "ltr", symbols=["<s>", "<pad>", "</s>", "<unk>", *"|HELOWRTD"])


def test_without_labels_only_the_audio_counts(folder: Path) -> None:
    (folder / "train.ltr").unlink()
    require(folder, "train", None)
    assert check_split(folder, "train") == []


def test_check_folder_finds_splits_and_label_kinds(folder: Path) -> None:
    shutil.copy(folder / "train.tsv", folder / "dev-clean.tsv")
    shutil.copy(folder / "train.ltr", folder / "dev-clean.ltr")
    reports = check_folder(folder)
    assert [(r.split, r.utterances, r.frames, r.problems) for r in reports] == [
        ("dev-clean", 3, 52_640, []),
        ("train", 3, 52_640, []),
    ]
    (folder / "dict.phn.txt").write_text("a 1\n")
    assert check_folder(folder, ["train"])[0].problems == [f"{folder}/train.phn: no such file"]
    assert check_folder(folder, ["train"], "ltr")[0].problems == []


def test_audio_in_a_stored_zip(folder: Path) -> None:
    """Written as fairseq documents it: file, byte offset, byte length."""
    root = folder.parent / "audio"
    with zipfile.ZipFile(root / "all.zip", "w", zipfile.ZIP_STORED) as stored:
        stored.write(root / "anna/1.flac", "1.flac")
    data = (root / "anna/1.flac").read_bytes()
    at = (root / "all.zip").read_bytes().index(data)
    (folder / "zip.tsv").write_text(f"{root}\nall.zip:{at}:{len(data)}\t16000\n")
    assert check_split(folder, "zip") == []
    for wrong, fault in ((f"{at + 1}:{len(data)}", "no WAV, FLAC or OGG"), (f"{at}:{len(data) // 2}", "not readable")):
        (folder / "zip.tsv").write_text(f"{root}\nall.zip:{wrong}\t16000\n")
        assert [fault in problem for problem in check_split(folder, "zip")] == [True]
    (folder / "zip.tsv").write_text(f"{root}\nno.zip:{at}:{len(data)}\t16000\n")
    assert check_split(folder, "zip", full=False) == [f"{folder}/zip.tsv:2: no such file {root}/no.zip"]


def test_ctc_uses_the_strides_it_is_given(folder: Path) -> None:
    assert check_split(folder, "train", "ltr", convolutions=[(3200, 3200)])[0].startswith(
        f"{folder}/train.tsv:2: anna/1.flac: 12 labels need 13 encoder frames for CTC, 16000 samples give 5"
    )


@pytest.mark.parametrize(("frames", "expected"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_encoder_frames(frames: int, expected: int) -> None:
    assert encoder_frames(frames) == expected


def test_encoder_frames_are_those_of_real_convolutions() -> None:
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Conv1d(1, 1, kernel, stride) for kernel, stride in ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)]
    for frames in (400, 1_000, 5_119, 16_001):
        with torch.no_grad():
            assert torch.nn.Sequential(*layers)(torch.zeros(1, 1, frames)).shape[-1] == encoder_frames(frames)


@pytest.mark.parametrize("labels", ["A", "A A", "A B A", "A A A B B"])
def test_ctc_fault_is_where_the_loss_becomes_infinite(labels: str) -> None:
    torch = pytest.importorskip("torch")
    targets = torch.tensor([["_AB".index(symbol) for symbol in labels.split()]])
    for frames in range(1, 9):
        log_probs = torch.zeros(frames, 1, 3).log_softmax(-1)
        loss = torch.nn.functional.ctc_loss(log_probs, targets, [frames], [targets.shape[1]])
        feasible = frames_needed(labels.split()) <= frames
        assert bool(loss.isfinite()) == feasible
        assert (ctc_fault(frames, labels.split(), [(1, 1)]) is None) == feasible


def test_missing_files_despite_an_unlistable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    asked = [f"{tmp_path}/{name}" for name in ("a", "link", "dangling", "folder", "b", "x/c", "d\0")]
    expected = set(asked[2:])
    assert missing_files(asked) == expected

    def refuse(_: str) -> None:
        raise PermissionError

    monkeypatch.setattr(checking.os, "scandir", refuse)
    assert missing_files(asked) == expected


def test_the_quick_check_is_quick(tmp_path: Path) -> None:
    """3,000 utterances of 200 letters; ten times as many take about a second on one core of 2020's."""
    (tmp_path / "audio").mkdir()
    for number in range(3_000):
        (tmp_path / f"audio/{number}.flac").touch()
    rows = "".join(f"{number}.flac\t200000\n" for number in range(3_000))
    (tmp_path / "train.tsv").write_text(f"{tmp_path}/audio\n{rows}")
    (tmp_path / "train.ltr").write_text(("H E L L O | " * 33 + "\n") * 3_000)
    (tmp_path / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in "|HELO"))
    start = time.process_time()
    require(tmp_path, "train", "ltr")
    assert time.process_time() - start < 1


def test_a_format_without_a_way_to_its_end_is_read_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000, subtype="GSM610")
    assert read_header(Location(str(tmp_path / "a.wav"))).frames == 16_000
