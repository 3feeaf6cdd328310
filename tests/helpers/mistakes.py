"""A user's mistake: data to spoil, and the one line that a command must end with."""

from __future__ import annotations

import shutil
from pathlib import Path

import tiny


def one_line(done: tiny.Done, expected: str) -> None:
    assert done.status == 1
    assert expected in done.last_line, done.err[-2000:]
    assert done.last_line.startswith("fairseq_parp: ")
    assert "Traceback" not in done.err


def spoil(data: Path, tmp_path: Path) -> Path:
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    for tsv in copied.glob("*.tsv"):
        tsv.write_text(tsv.read_text().replace(str(data), str(copied)))
    return copied


def drop_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
