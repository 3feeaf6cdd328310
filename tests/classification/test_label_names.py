"""Names of classes in the tables of utterances and of texts: what is refused, what is warned of, what is one class."""

from __future__ import annotations

from pathlib import Path

import labelled
import numpy as np
import pytest
import texts

from fairseq_parp.classification.confusion import draw
from fairseq_parp.cli import main

KINDS = ("utterances", "texts")


def written(kind: str, folder: Path, names: list[str]) -> tuple[int, Path]:
    """Make a data folder of a table with these labels by the command; return its status and the folder."""
    out = folder / "data"
    if kind == "utterances":
        table = labelled.make_table(folder / "tones", {"train": 6, "valid": 3})
        given = dict(zip(sorted(labelled.PITCHES), names, strict=True))
        head, *rows = (line.split("\t") for line in table.read_text().splitlines())
        texts.write_table(table, [[path, given[label], split] for path, label, split in rows], head)
        return main(["manifest", "table", str(table), "--label", "pitch", "--out", str(out)]), out
    table = texts.write_table(folder / "table.tsv", [[f"text {name}", name] for name in names])
    words = ["manifest", "text", str(table), "--valid", str(table), "--out", str(out), "--vocabulary", "300"]
    return main(words), out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("very high", "label 'very high' has a space"),
        ("very\u00a0high", "label 'very\\xa0high' has a space"),
        ("very\u2028high", "label 'very\\u2028high' has a space"),
        ("<unk>", "label '<unk>' is "),
    ],
)
def test_refused(kind: str, name: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = written(kind, tmp_path, [name, "low", "middle"])
    assert status != 0
    assert expected in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["LOW", "low\u200b", "\uff4cow"], ids=["case", "invisible", "another width"])
def test_two_that_look_alike(kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = written(kind, tmp_path, [name, "low", "middle"])
    assert status == 0
    shown = capsys.readouterr().err
    assert "warning: labels " in shown
    assert "differ in case or in their encoding alone; each is a class of its own" in shown
    assert all(ascii(each) in shown for each in ("low", name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["\u00e9t\u00e9", "e\u0301te\u0301", "hiver"], {"\u00e9t\u00e9", "hiver"}),
        (["1", "1.0", "-1"], {"1", "1.0", "-1"}),
        (["\u9ad8", "#", "$x$"], {"\u9ad8", "#", "$x$"}),
    ],
    ids=["two encodings of a letter", "numbers", "signs"],
)
def test_classes(
    kind: str, names: list[str], classes: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = written(kind, tmp_path, names)
    assert (status, "differ" in capsys.readouterr().err) == (0, False)
    file = out / ("dict.label.txt" if kind == "utterances" else "label/dict.txt")
    symbols = {line.rpartition(" ")[0] for line in file.read_text().splitlines()}
    assert {each for each in symbols if not each.startswith("madeupword")} == classes


def test_a_dollar_is_no_formula_in_a_picture(tmp_path: Path) -> None:
    draw(np.eye(2, dtype=np.int64), ["$\\nothing$", "$x$"], "100 $ and $\\none$", tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000
