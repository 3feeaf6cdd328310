"""``fairseq-parp images digits``: pictures show the digits in order, and what is unseen stays unseen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image
from sklearn.datasets import load_digits

from fairseq_parp import cli
from fairseq_parp.demo import digits
from fairseq_parp.grounded.features import Features

TEXTS = {
    "train": ["ONE FIVE TWO ONE SEVEN", "ZERO THREE", "NINE EIGHT FOUR", "SIX", "STOP AT ONE", "seven OH seven oh"],
    "test": ["oh three", "FOUR FOUR TWO SIX ZERO", "GO"],
}
"""The second text of train is the first of test."""

KEPT = {"train": [(1, 5, 2, 1, 7), (9, 8, 4), (6,), (7, 0, 7, 0)], "test": [(0, 3), (4, 4, 2, 6, 0)]}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A table of spoken digits, whose speech is tones."""
    tiny.make_corpus(tmp_path / "corpus", {split: len(texts) for split, texts in TEXTS.items()}, (0.8, 1.0))
    lines = ["path\tspeaker\tsplit\ttext"]
    for split, texts in TEXTS.items():
        lines += [f"{split}-{row}.flac\t{split}{row % 3}\t{split}\t{text}" for row, text in enumerate(texts)]
    table = tmp_path / "corpus" / "transcripts.tsv"
    table.write_text("\n".join(lines) + "\n")
    return table


def nearest(picture: Path, place: int) -> int:
    """Return the row in scikit-learn's data of the digit that a place of a picture shows."""
    row, column = divmod(place, digits.ACROSS)
    edge = (digits.CELL - digits.INK) // 2
    left, top = column * digits.CELL + edge, row * digits.CELL + edge
    with Image.open(picture) as opened:
        shown = opened.convert("L").crop((left, top, left + digits.INK, top + digits.INK))
    small = 16 - np.asarray(shown.resize((8, 8), Image.Resampling.BOX), float) * 16 / 255
    return int(np.square(load_digits().images - small).sum((1, 2)).argmin())


def test_pictures_show_the_digits_in_order_and_test_has_strings_and_handwriting_of_its_own(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, labels = tmp_path / "digits", load_digits().target
    assert cli.main(["images", "digits", str(corpus), "--out", str(out)]) == 0
    assert "train 4, test 2" in capsys.readouterr().out
    head, *rows = (line.split("\t") for line in (out / "transcripts.tsv").read_text().splitlines())
    assert head == list(digits.HEAD)
    used: dict[str, set[int]] = {}
    for split, strings in KEPT.items():
        pictures = [row[-1] for row in rows if row[2] == split]
        found = [[nearest(out / "pictures" / name, at) for at in range(len(string))]
                 for name, string in zip(pictures, strings, strict=True)]  # fmt: skip
        assert [tuple(labels[each]) for each in found] == strings
        used[split] = {sample for each in found for sample in each}
        blank = np.asarray(Image.open(out / "pictures" / pictures[0]))[-digits.CELL :]
        assert (blank == 255).all()
    assert max(used["train"]) < min(used["test"])
    data = tmp_path / "data"
    table = ["manifest", "table", str(out / "transcripts.tsv"), "--root", str(corpus.parent), "--out", str(data)]
    assert cli.main([*table, "--valid-speakers", "train2"]) == 0
    assert (data / "test.img").read_text().splitlines() == [row[-1] for row in rows if row[2] == "test"]
    assert cli.main(["images", "embed", str(out / "pictures"), "-o", str(data / "images.safetensors")]) == 0
    assert Features(data / "images.safetensors").ids == sorted(row[-1] for row in rows)
    assert cli.main(["manifest", "check", str(data)]) == 0


def test_strings_of_one_length_can_be_kept_and_a_seed_draws_other_handwriting(corpus: Path, tmp_path: Path) -> None:
    for folder, seed in (("one", 1), ("same", 1), ("other", 2)):
        assert digits.write_digits(corpus, tmp_path / folder, count=5, seed=seed) == {"train": 1, "test": 1}
    (name,) = (tmp_path / "one" / "pictures" / "test").iterdir()
    one, same, other = (
        (tmp_path / folder / "pictures/test" / name.name).read_bytes() for folder in ("one", "same", "other")
    )
    assert one == same != other


BAD = {
    "no such split": ([], ["--unseen", "dev"], "--unseen='dev': must be a split of .*transcripts.tsv: train, test"),
    "no string of that length": (
        [],
        ["--digits", "9"],
        "--digits=9: must be a number of digits in .*transcripts.tsv: 1, 2,",
    ),
    "a long string": (["ONE " * 17], [], "transcripts.tsv:11: has 17 digits; a picture has 16 places"),
    "no digits": (None, [], "transcripts.tsv: no utterance is a string of digits"),
    "pictures are there": ([], ["--out", "."], "has pictures in it; name another folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line_and_writes_nothing(
    case: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more, arguments, named = BAD[case]
    head, *lines = corpus.read_text().splitlines()
    if more is None:
        lines = ["\t".join([*line.split("\t")[:-1], "STOP"]) for line in lines]
    else:
        lines += [f"more{row}.flac\ts\ttrain\t{text.strip()}" for row, text in enumerate(more)]
    corpus.write_text("\n".join([head, *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    if "." in arguments:
        (tmp_path / "pictures").mkdir()
        (tmp_path / "pictures/mine.png").touch()
    assert cli.main(["images", "digits", str(corpus), "--out", "new", *arguments]) == 2
    line = capsys.readouterr().err
    assert re.search(named, line)
    assert line.count("\n") == 1
    assert not Path("new").exists()
    assert not Path("transcripts.tsv").exists()
