"""Recorded runs: worst and median are right, and README and docs quote exactly the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.record import Record, read, table, text_of
from fairseq_parp import cli

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "performance.tsv"
LINE = re.compile(r"^\| .+ \| (?:cpu|wall|bytes) \|.*$", re.MULTILINE)


def record(
    ratio: str, bar: str, holds: str = "yes", day: str = "2026-01-01", by: str = "cpu", row: str = "r"
) -> Record:
    return Record(day, "abc", "a machine", "a test", by, row, ratio, bar, holds)


@pytest.mark.parametrize(
    ("bar", "shown"), [("≤ 2", "3 missed | 1.5"), ("≥ 2", "1 missed | 1.5 missed"), ("-", "3 | 1.5")]
)
def test_worst_and_median_of_the_runs_and_what_misses_its_bar(bar: str, shown: str) -> None:
    runs = [record("3", bar, "null"), record("1", "≤ 9"), record("1.5", bar, day="2026-01-02")]
    assert table(runs)[2:] == [f"| r | cpu | {bar} | {shown} | 3 | 1 | 2 |"]


def test_judges_are_not_mixed_and_rows_keep_their_order() -> None:
    runs = [record("1", "≤ 2", row="z"), record("2", "≤ 2", row="a"), record("3", "≤ 2", by="wall", row="z")]
    assert [line.split(" | ")[:4] for line in table(runs)[2:]] == [
        ["| z", "cpu", "≤ 2", "1"],
        ["| z", "wall", "≤ 2", "3 missed"],
        ["| a", "cpu", "≤ 2", "2"],
    ]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    runs = [record("3", "≤ 2"), record("0.5", "-", "-")]
    (tmp_path / "runs.tsv").write_text(text_of(runs))
    assert read(tmp_path / "runs.tsv") == runs


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, r"runs\.tsv'?: no such file"),
        ("date\tcommit\n", r"runs\.tsv:1'?: must be the names of the fields: date commit machine"),
        (text_of([record("fast", "≤ 2")]), r"runs\.tsv:2'?: must have 9 fields, the ratio a finite number"),
        (text_of([record("nan", "≤ 2")]), r"runs\.tsv:2'?: must have 9 fields, the ratio a finite number"),
        (text_of([]) + "2026\n", r"runs\.tsv:2'?: must have 9 fields, the ratio a finite number"),
        ("", r"runs\.tsv:1'?: must be the names of the fields"),
    ],
)
def test_a_file_that_holds_no_records(
    content: str | None, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.tsv"
    if content is not None:
        file.write_text(content)
    assert cli.main(["bench", "--table", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(named, line)


def test_the_docs_quote_exactly_what_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--table", str(RECORDS)]) == 0
    printed = capsys.readouterr().out.splitlines()[2:]
    assert len(printed) > 50
    assert sorted(LINE.findall((ROOT / "docs" / "performance.md").read_text())) == sorted(printed)
    quoted = LINE.findall((ROOT / "README.md").read_text())
    assert len(quoted) > 5
    rows = {line.split(" | ")[0] for line in quoted}
    assert quoted == [line for line in printed if line.split(" | ")[0] in rows]  # all that there is on a row
