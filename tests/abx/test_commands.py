"""``fairseq-parp align`` and ``abx`` on real checkpoints of fairseq's classes, tiny and with random weights."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import encoders
import numpy as np
import pytest
import soundfile
import torch
from in_process import speech, train

from fairseq_parp import cli
from fairseq_parp.abx import read_items, write_items
from fairseq_parp.abx.features import Layers
from fairseq_parp.export.source import Source, build_encoder
from fairseq_parp.transcription.audio import read_audio


@pytest.fixture(scope="module")
def finetuned(data: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuned")
    train(speech(data, pretrained), folder, method="parp", sparsity=0.5, interval=2)
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module")
def items(finetuned: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of the training split; the speaker is the last digit of a file's name."""
    out = tmp_path_factory.mktemp("items") / "train.item"
    arguments = ["align", str(finetuned), str(data), "--split", "train", "--speaker", r"([0-9])\.flac$"]
    assert cli.main([*arguments, "-o", str(out)]) == 0
    return out


def audio_folder(data: Path) -> str:
    return (data / "train.tsv").read_text().splitlines()[0]


def test_tokens_lie_one_after_another_within_their_file(items: Path, data: Path) -> None:
    found = read_items(items)
    lines = (data / "train.ltr").read_text().splitlines()
    files = [line.split("\t")[0] for line in (data / "train.tsv").read_text().splitlines()[1:]]
    for file, line in zip(files, lines, strict=True):
        mine = [item for item in found if item.file == Path(file).stem]
        assert "".join(item.phone for item in mine) == line.replace(" ", "").replace("|", "")
        assert all(one.offset <= other.onset + 1e-9 for one, other in pairwise(mine))
        assert (mine[0].before, mine[-1].after) == ("SIL", "SIL")
        seconds = soundfile.info(str(Path(audio_folder(data)) / file)).duration
        assert mine[0].onset >= 0
        assert mine[-1].offset <= seconds + 0.02
        assert {item.speaker for item in mine} == {Path(file).stem[-1]}


def test_every_layer_has_errors(
    items: Path, finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = [replace(item, before="x", after="x") for item in read_items(items)]  # contexts are rare in so few tokens
    write_items(tmp_path / "x.item", alike)
    arguments = ["abx", str(finetuned), str(tmp_path / "x.item"), "--audio", audio_folder(data)]
    written = ["--plot", str(tmp_path / "abx.png"), "--features", str(tmp_path / "features")]
    assert cli.main([*arguments, *written, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    layers = Layers(finetuned)
    assert found["rate"] == layers.rate
    for audio in (
        Path(audio_folder(data), line.split("\t")[0]) for line in (data / "train.tsv").open() if "\t" in line
    ):
        arrays = [np.load(tmp_path / "features" / name / f"{audio.stem}.npy") for name in layers.names]
        assert all(np.array_equal(one, other) for one, other in zip(arrays, layers.of(audio), strict=True))
    assert len(found["layers"]) == len(layers.names)
    assert all(0 <= layer[kind] <= 100 for layer in found["layers"].values() for kind in ("within", "across"))
    assert found["tokens"] + found["left_out"] == len(read_items(items))
    assert (tmp_path / "abx.png").stat().st_size > 10_000
    assert cli.main(arguments) == 0
    table = capsys.readouterr().out
    assert all(f"\n{number} " in table for number in found["layers"])


def test_across_speakers_needs_two_of_them(
    items: Path, finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = [replace(item, before="x", after="x", speaker="one") for item in read_items(items)]
    write_items(tmp_path / "x.item", alike)
    arguments = ["abx", str(finetuned), str(tmp_path / "x.item"), "--audio", audio_folder(data)]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("across: all tokens are by one speaker")]
    assert [line for line in lines if line.startswith("best within: layer ")]
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["speakers"] == 1
    assert [(layer["across"], layer["pairs_across"]) for layer in found["layers"].values()] == [(None, 0)] * 3
    assert all(layer["within"] is not None for layer in found["layers"].values())


def test_a_phone_without_a_second_token_is_left_out_and_counted(
    items: Path, finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = [replace(item, before="x", after="x") for item in read_items(items)]
    lonely = [*alike, replace(alike[0], before="y", after="y", phone="only")]
    counts = []
    for number, tokens in enumerate((alike, lonely)):
        write_items(tmp_path / f"{number}.item", tokens)
        arguments = ["abx", str(finetuned), str(tmp_path / f"{number}.item"), "--audio", audio_folder(data), "--json"]
        assert cli.main(arguments) == 0
        counts.append(json.loads(capsys.readouterr().out))
    assert counts[1].pop("left_out") == counts[0].pop("left_out") + 1
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", encoders.CTC)
def test_layers_are_those_of_fairseq(name: str, data: Path, pretrained: Path, tmp_path: Path) -> None:
    """The outputs are what fairseq's own forward returns up to each layer, without the frames that it pads."""
    checkpoint = pretrained if name == "wav2vec2" else encoders.make(name, tmp_path / "pretrained.pt")
    audio = next(Path(audio_folder(data)).rglob("*.flac"))
    found = Layers(checkpoint).of(audio)
    source = Source.open(checkpoint)
    encoder = build_encoder(source.encoder_cfg, source.state)
    wave = read_audio(audio, 16000, source.normalize)[None]
    for number, mine in enumerate(found):
        with torch.no_grad():
            keys = {"output_layer": number + 1} if name == "hubert" else {"layer": number}
            theirs = encoder.extract_features(wave, None, mask=False, **keys)
        x = theirs["x"] if isinstance(theirs, dict) else theirs[0]
        assert mine.shape == x[0].shape
        assert torch.allclose(mine, x[0].float(), atol=1e-5), number


def last_line(text: str, line: str) -> str:
    """Return the items with another last line."""
    return "\n".join([*text.splitlines()[:-1], line, ""])


def late(text: str) -> str:
    file, onset, _, *others = text.splitlines()[-1].split()
    return " ".join([file, onset, "99.0", *others])


REFUSED = {
    "no such file": (lambda f: last_line(f, "other 0 0.1 A B C s"), r"no audio file other in or below .* \(1 files"),
    "beyond the audio": (lambda f: last_line(f, late(f)), r"ends at 99 s, but .* ends at"),
    "no partner": (lambda f: "\n".join(f.splitlines()[:2]) + "\n", "no two phones have tokens in the same context"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_items_that_do_not_fit(
    case: str, items: Path, finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = REFUSED[case]
    (tmp_path / "x.item").write_text(change(items.read_text()))
    assert cli.main(["abx", str(finetuned), str(tmp_path / "x.item"), "--audio", audio_folder(data)]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speaker", "nobody([0-9]+)x"], r"line 2: --speaker 'nobody\(\[0-9\]\+\)x' matches no speaker in"),
        (["--speaker", "(.)", "--labels", "phn"], r"train\.phn"),
        (["--speaker", "(.)", "--split", "nothing"], r"nothing\.tsv"),
    ],
)
def test_manifests_that_do_not_fit(
    arguments: list[str], message: str, finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.item"
    given = ["--split", "train", *arguments, "-o", str(out)]
    assert cli.main(["align", str(finetuned), str(data), *given]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not out.exists()
