"""Runs of the benchmark, recorded in one file of tab-separated values, and the worst and the median of each row."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.rows import Row
from fairseq_parp.errors import ConfigError
from fairseq_parp.kinds import unreadable

UNKNOWN = "-"
"""What stands where a date or a commit was not written down, and for the bar of a row that has none."""


class Record(NamedTuple):
    """One row of one run, as text."""

    date: str
    commit: str
    machine: str
    source: str
    by: str
    row: str
    ratio: str
    bar: str
    holds: str


def records_of(rows: Iterable[Row], facts: Mapping[str, str]) -> list[Record]:
    """Return the records of rows measured where the facts hold; rows without a measurement have none."""
    run = (facts["date"], facts["commit"], facts["machine"], "fairseq-parp bench")
    return [Record(*run, row.by, row.name, f"{row.ratio:.3g}", _bar(row), row.verdict) for row in rows if row.runs]


def text_of(records: Iterable[Record]) -> str:
    """Return a file's content: the names of the fields, then one line a record."""
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([Record._fields, *records])
    return file.getvalue()


def read(path: Path) -> list[Record]:
    """Read a file of records.

    Raises:
        ConfigError: it cannot be read, or a line is no record.
    """
    try:
        lines = list(csv.reader(path.read_text().splitlines(), delimiter="\t"))
    except (OSError, UnicodeError) as error:
        raise ConfigError("--table", str(path), unreadable(path, error)) from error
    if lines[:1] != [list(Record._fields)]:
        raise ConfigError("--table", f"{path}:1", f"must be the names of the fields: {' '.join(Record._fields)}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(Record._fields) or not _is_finite(Record(*line).ratio):
            fields = f"must have {len(Record._fields)} fields, the ratio a finite number"
            raise ConfigError("--table", f"{path}:{number}", fields)
    return [Record(*line) for line in lines[1:]]


def table(records: Sequence[Record]) -> list[str]:
    """Return a Markdown table: of each row, and each way to judge it, the worst and the median of all runs.

    Null runs count too: their ratios can only make a row look worse. A row's last bar is shown, and ``missed`` marks a
    worst or a median run that does not reach it.
    """
    lines = ["| row | judged by | bar | worst | median | runs | null | days |", "|---|---|---|---|---|---|---|---|"]
    order = {row: place for place, row in enumerate(dict.fromkeys(record.row for record in records))}
    kinds = sorted({(record.row, record.by) for record in records}, key=lambda kind: (order[kind[0]], kind[1]))
    for row, by in kinds:
        some = [record for record in records if (record.row, record.by) == (row, by)]
        ratios, bar = [float(record.ratio) for record in some], some[-1].bar
        worst = min(ratios) if bar.startswith("≥") else max(ratios)
        null = sum(record.holds == "null" for record in some)
        days = len({(record.date, record.machine) for record in some})
        shown = " | ".join(f"{ratio:.3g}{_missed(ratio, bar)}" for ratio in (worst, median(ratios)))
        lines.append(f"| {row} | {by} | {bar} | {shown} | {len(some)} | {null} | {days} |")
    return lines


def _missed(ratio: float, bar: str) -> str:
    sign, _, limit = bar.partition(" ")
    if bar == UNKNOWN or (ratio >= float(limit) if sign == "≥" else ratio <= float(limit)):
        return ""
    return " missed"


def _bar(row: Row) -> str:
    return UNKNOWN if row.bar is None else f"{'≥' if row.faster else '≤'} {row.bar:g}"


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
