"""The results file: what is written is read back, what is no results file is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_up import row

from fairseq_parp.errors import ExperimentFileError
from fairseq_parp.experiments.results import COLUMNS, ResultRow, read_results, write_results

ODD = replace(
    row("dense", 0.0),
    uer=0.1 + 0.2,
    lr=1e-5 / 3,
    wer=None,
    seconds=None,
    command="train 'a\tb' \"c\"\n --lang русский",
    interval=None,
)


def test_rows_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [row("parp", 0.5), row("parp", 0.5, seed=2), ODD]
    write_results(tmp_path / "new" / "results.tsv", rows)
    assert read_results(tmp_path / "new" / "results.tsv") == rows
    first, header, *_ = (tmp_path / "new" / "results.tsv").read_text().splitlines()
    assert first == "# fairseq-parp experiment results, version 1"
    assert header.split("\t") == list(COLUMNS) == list(ResultRow.__dataclass_fields__)


def test_files_of_before_the_later_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    write_results(path, [row("parp", 0.5, variant="", trained=None, parameters=None)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], *("\t".join(line.split("\t")[:-3]) for line in lines[1:])]) + "\n")
    assert "variant" not in path.read_text()
    assert read_results(path) == [row("parp", 0.5)]


def test_no_rows_are_read_back_as_no_rows(tmp_path: Path) -> None:
    write_results(tmp_path / "results.tsv", [])
    assert read_results(tmp_path / "results.tsv") == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version 1", "version 2", "line 1 is '# fairseq-parp experiment results, version 2', expected .* version 1'"),
        ("# fairseq-parp", "run\tmethod", "line 1 is "),
        ("\tuer\t", "\tper\t", "line 2: columns missing: uer; unknown: per"),
        ("\tuer\t", "\twer\t", "line 2: columns missing: uer; twice: wer"),
        ("\t42.5\t", "\tmany\t", "line 3, column uer: 'many' is not a finite number"),
        ("\t42.5\t", "\tnan\t", "line 3, column uer: 'nan' is not a finite number"),
        ("\t42.5\t", "\t\t", "line 3, column uer: '' is not a finite number"),
        ("\t300\t", "\t300.5\t", "line 3, column updates: '300.5' is not a whole number"),
        ("\t50\t", "\tnever\t", "line 3, column interval: 'never' is not a whole number or nothing"),
        ("\t42.5\t", "\t", "line 3: 27 cells, expected 28"),
        ("\tparp\t", '\t"parp\t', "line "),
    ],
)
def test_what_is_no_results_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "results.tsv"
    write_results(path, [row("parp", 0.5, uer=42.5)])
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ExperimentFileError, match=message) as raised:
        read_results(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_line_number_counts_the_lines_of_a_quoted_cell(tmp_path: Path) -> None:
    path = tmp_path / "results.tsv"
    write_results(path, [ODD, row("parp", 0.5, uer=42.5)])
    path.write_text(path.read_text().replace("\t42.5\t", "\t?\t"))
    with pytest.raises(ExperimentFileError, match="line 5, column uer"):
        read_results(path)


def test_a_run_is_there_once_for_each_split(tmp_path: Path) -> None:
    rows = [row("parp", 0.5), row("parp", 0.5, split="other")]
    write_results(tmp_path / "results.tsv", rows)
    assert len(read_results(tmp_path / "results.tsv")) == 2
    write_results(tmp_path / "results.tsv", [*rows, rows[0]])
    with pytest.raises(ExperimentFileError, match=r"line 5: run parp-0\.5-s1 occurs twice on test"):
        read_results(tmp_path / "results.tsv")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ExperimentFileError, match=r"/none\.tsv: no such file"):
        read_results(tmp_path / "none.tsv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ExperimentFileError, match="not UTF-8 text"):
        read_results(tmp_path / "binary")
    (tmp_path / "short").write_text("# fairseq-parp experiment results, version 1\n")
    with pytest.raises(ExperimentFileError, match="line 2: columns missing: run, method"):
        read_results(tmp_path / "short")
