"""A corpus that is wrong: found by ``manifest check`` with file and line, and training on it ends in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from mistakes import one_line, spoil

from fairseq_parp.manifests.checking import check_split

BAD = "train-4.flac"


def audio(samples: object, rate: int = 16000, subtype: str = "PCM_16") -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        (data / BAD).unlink()
        soundfile.write(data / "train-4.wav", np.asarray(samples, dtype="float32"), rate, subtype=subtype)
        edit("train.tsv", BAD, "train-4.wav")(data)

    return damage


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new, 1))

    return damage


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda data: (data / name).write_bytes(change((data / name).read_bytes()))  # type: ignore[func-returns-value]


TONE = np.sin(np.arange(12_000) * 0.1) * 0.1
HOLED = np.where(np.arange(12_000) == 7000, np.nan, TONE)


def third(split: str) -> Callable[[Path], None]:
    """Write a third of an utterance's frames into the manifest, as one does that was made before re-segmentation."""

    def damage(data: Path) -> None:
        lines = (data / f"{split}.tsv").read_text().splitlines()
        path, frames = lines[5].split("\t")
        lines[5] = f"{path}\t{int(frames) // 3}"
        (data / f"{split}.tsv").write_text("\n".join(lines) + "\n")

    return damage


CASES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no samples": (audio([]), "0 frames", "0 frames"),
    "stereo": (audio(np.stack([TONE, TONE], 1)), "2 channel(s)", "2 channels; mono is needed"),
    "8 kHz": (audio(TONE, 8000), "8000 Hz", "8000 Hz; 16000 Hz is needed"),
    "NaN": (audio(HOLED, subtype="FLOAT"), "NaN or infinite samples", "NaN or infinite samples"),
    "a stale manifest": (third("train"), "frames here,", "frames in the manifest, "),
    "a text named .flac": (lambda d: (d / BAD).write_text("no audio"), "not readable as audio", f"/{BAD}"),
}  # fmt: skip


@pytest.mark.parametrize(("case", "workers"), [*((case, 1) for case in CASES), ("NaN", 0), ("8 kHz", 2)])
def test_bad_audio(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str, workers: int
) -> None:
    damage, checked, trained = CASES[case]
    copied = spoil(data, tmp_path)
    damage(copied)
    problems = check_split(copied, "train", "ltr")
    assert any(line.startswith(f"{copied}/train.tsv:6: ") and checked in line for line in problems), problems
    done = commands.train(
        tmp_path, tiny.training(tmp_path / "run", copied, pretrained, f"dataset.num_workers={workers}"), expect=None
    )
    one_line(done, trained)
    assert f"{copied}/train.tsv:6 (train-4." in done.last_line


def test_a_stale_manifest_is_not_decoded(commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path) -> None:
    copied = spoil(data, tmp_path)
    third("test")(copied)
    done = commands.generate(copied, finetuned / "checkpoint_last.pt", tmp_path / "out", expect=None)
    one_line(done, f"{copied}/test.tsv:6 (test-4.flac): ")
    assert "build the manifest anew (fairseq-parp manifest check shows all that differ)" in done.last_line


def test_labelled_audio_is_not_cropped(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    sizes = [int(line.split("\t")[1]) for line in (data / "train.tsv").read_text().splitlines()[1:]]
    keys = ["optimization.max_update=2", "dataset.disable_validation=true"]
    enough = f"+task.max_sample_size={max(sizes)}"
    commands.train(tmp_path, tiny.training(tmp_path / "a", data, pretrained, *keys, enough))
    short = f"+task.max_sample_size={max(sizes) - 1}"
    done = commands.train(tmp_path, tiny.training(tmp_path / "b", data, pretrained, *keys, short), expect=None)
    where = f"{data}/train.tsv:{sizes.index(max(sizes)) + 2} (train-{sizes.index(max(sizes))}.flac)"
    one_line(done, f"task.max_sample_size={max(sizes) - 1}: 1 utterance(s) of 13 are longer, up to {max(sizes)}")
    assert where in done.last_line


TEXT: dict[str, tuple[Callable[[Path], object], str]] = {
    "duplicated ids": (edit("train.tsv", "train-5.flac", "train-4.flac"), "train.tsv:7: 'train-4.flac' is already"),
    "CRLF": (rewrite("train.tsv", lambda b: b.replace(b"\n", b"\r\n")), "train.tsv:1: ends in a carriage return"),
    "a byte-order mark": (rewrite("train.ltr", lambda b: b"\xef\xbb\xbf" + b), "train.ltr:1: begins with a byte-order"),
    "a path out of the root": (edit("train.tsv", BAD, "../x.flac"), "train.tsv:6: path '../x.flac' leaves the root"),
}


@pytest.mark.parametrize("case", TEXT)
def test_bad_manifests(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str) -> None:
    damage, expected = TEXT[case]
    copied = spoil(data, tmp_path)
    damage(copied)
    assert any(expected in line for line in check_split(copied, "train", "ltr"))
    one_line(commands.train(tmp_path, tiny.training(tmp_path / "run", copied, pretrained), expect=None), expected)


def test_labels_longer_than_the_frames(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    copied = spoil(data, tmp_path)
    lines = (copied / "train.ltr").read_text().splitlines()
    (copied / "train.ltr").write_text("\n".join([*lines[:4], "A B " * 60 + "|", *lines[5:]]) + "\n")
    expected = f"{copied}/train.tsv:6: train-4.flac: 121 labels need 121 encoder frames"
    assert any(line.startswith(expected) for line in check_split(copied, "train", "ltr"))
    keys = ["optimization.max_update=4", "criterion.zero_infinity=false"]
    one_line(commands.train(tmp_path, tiny.training(tmp_path / "a", copied, pretrained, *keys), expect=None), expected)
    done = commands.train(tmp_path, tiny.training(tmp_path / "b", copied, pretrained, keys[0]))
    assert f"1 utterance(s) train nothing, because of criterion.zero_infinity: {expected}" in done.out


def test_spaces_and_letters_of_every_script_are_fine(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    copied = spoil(data, tmp_path)
    (copied / BAD).rename(copied / "ein Größerer naïve 語 .flac")
    edit("train.tsv", BAD, "ein Größerer naïve 語 .flac")(copied)
    assert check_split(copied, "train", "ltr") == []
    commands.train(tmp_path, tiny.training(tmp_path / "run", copied, pretrained, "optimization.max_update=4"))


def test_an_utterance_longer_than_max_tokens(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    sizes = [int(line.split("\t")[1]) for line in (data / "valid.tsv").read_text().splitlines()[1:]]
    line = sizes.index(max(sizes)) + 2
    done = commands.train(
        tmp_path, tiny.training(tmp_path, data, pretrained, "dataset.max_tokens_valid=9000"), expect=None
    )
    one_line(done, f"max_tokens=9000: the longest utterance has {max(sizes)} samples ({data}/valid.tsv:{line} (valid-")
