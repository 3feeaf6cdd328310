"""Outputs are tried before a command reads its inputs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fairseq_parp.cli import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text").write_text("hello")
    return tmp_path


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("folder.png", "cannot be written (it is a folder; name a file)"),
        ("errors.pdf", "must end in .png"),
        ("text/errors.png", "text is not a folder"),
    ],
)
def test_a_picture_that_cannot_be_written(
    out: str, reason: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["abx", "missing.pt", "missing.item", "--audio", "missing", "--plot", out]) == 2
    line = capsys.readouterr().err
    assert line.startswith("fairseq-parp abx: ")
    assert out in line
    assert reason in line
    assert sorted(file.name for file in place.iterdir()) == ["folder.png", "text"]


def test_a_picture_without_matplotlib(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["abx", "missing.pt", "missing.item", "--audio", "missing", "--plot", str(place / "errors.png")]) == 2
    assert "fairseq-parp abx: pictures need matplotlib: pip install matplotlib" in capsys.readouterr().err


def test_a_folder_that_is_there_and_cannot_be_written_into(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "missing.tsv", "--out", "/proc"]) == 2
    assert "fairseq-parp plot: /proc: cannot be written (" in capsys.readouterr().err
