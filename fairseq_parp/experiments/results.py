"""The results of an experiment as a tidy table: one row for each run and test split, tab-separated."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fairseq_parp.errors import ExperimentFileError, listing
from fairseq_parp.files import write_whole
from fairseq_parp.kinds import unreadable

TITLE = "# fairseq-parp experiment results, version "
VERSION = "1"


@dataclass(frozen=True)
class ResultRow:
    """One run on one test split. Paths are relative to the folder of the results file.

    Attributes:
        run: name of the run's folder; no other run has it.
        method: pruning method.
        data: name of the training set.
        config: name of the training recipe.
        protocol: ``matched`` (every method freezes and trains alike) or ``paper`` (as in the released scripts).
        sparsity: the requested sparsity.
        measured: fraction of zeros among the prunable weights of the checkpoint.
        interval: updates between two re-prunes; None for never, or if the method has no interval.
        lr: peak learning rate.
        seed: seed of the training.
        mask_from: training set whose OMP mask the run started from; empty for none.
        split: name of the test subset.
        uer, wer: error rates in percent; ``wer`` is None if the symbols have no word boundaries.
        iou_mpi: IOU of the final mask with the pretrained weights' magnitude mask (MPI), or None.
        chance: the IOU of independent masks of the same densities.
        finetunings: number of finetunings that this run needs, shared ones included.
        updates: length of the final finetuning.
        seconds: duration of the final finetuning.
        peak_megabytes: peak memory of the final finetuning.
        checkpoint: the checkpoint that was decoded.
        decoded: output file of fairseq-generate.
        pretrained_mask: MPI mask file at this sparsity, or empty.
        command: the exact training command.
        versions: versions of the libraries.
        variant: named settings of the training beside these; empty for none.
        trained, parameters: number of trained parameters, and of all; None if unknown.
    """

    run: str
    method: str
    data: str
    config: str
    protocol: str
    sparsity: float
    measured: float
    interval: int | None
    lr: float
    seed: int
    mask_from: str
    split: str
    uer: float
    wer: float | None
    iou_mpi: float | None
    chance: float | None
    finetunings: int
    updates: int
    seconds: float | None
    peak_megabytes: float | None
    checkpoint: str
    decoded: str
    pretrained_mask: str
    command: str
    versions: str
    variant: str = ""
    trained: int | None = None
    parameters: int | None = None


COLUMNS = {field.name: str(field.type) for field in fields(ResultRow)}
"""The columns in their order, each with its type as it is written above."""

_LATER = ("variant", "trained", "parameters")
"""Columns that earlier files do not have."""


def write_results(path: str | Path, rows: Iterable[ResultRow]) -> None:
    """Write a results file, completely or not at all; None is an empty cell, a number reads back as the same number."""
    text = io.StringIO(newline="")
    text.write(f"{TITLE}{VERSION}\n")
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(asdict(row).values() for row in rows)
    write_whole(path, text.getvalue().encode())


def read_results(path: str | Path) -> list[ResultRow]:
    """Read a file of :func:`write_results`.

    Raises:
        ExperimentFileError: the file is missing, or has another version, other columns, a value of another type than
            its column, or a run twice on the same split.
    """
    first, _, rest = _text(path).partition("\n")
    if first.rstrip("\r") != TITLE + VERSION:
        raise ExperimentFileError(path, f"line 1 is {first[:80]!r}, expected {TITLE + VERSION!r}")
    reader = csv.reader(io.StringIO(rest, newline=""), delimiter="\t", strict=True)
    try:
        cells = [(reader.line_num + 1, line) for line in reader]
    except csv.Error as error:
        raise ExperimentFileError(path, f"line {reader.line_num + 1}: {error}") from None
    return _rows(path, cells)


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentFileError(path, unreadable(path, error)) from error


def _rows(path: str | Path, cells: Sequence[tuple[int, list[str]]]) -> list[ResultRow]:
    """Return the rows of ``cells``, the header among them, each with its line number."""
    (_, header), *lines = cells or [(2, [])]
    _check_columns(path, header)
    rows: dict[tuple[str, str], ResultRow] = {}
    for number, line in lines:
        if len(line) != len(header):
            raise ExperimentFileError(path, f"line {number}: {len(line)} cells, expected {len(header)}")
        named = dict(zip(header, line, strict=True))
        row = ResultRow(**{name: _value(path, number, name, named[name]) for name in COLUMNS if name in named})
        if (row.run, row.split) in rows:
            raise ExperimentFileError(path, f"line {number}: run {row.run} occurs twice on {row.split}")
        rows[row.run, row.split] = row
    return list(rows.values())


def _check_columns(path: str | Path, header: Sequence[str]) -> None:
    missing, unknown = (
        [name for name in COLUMNS if name not in (*header, *_LATER)],
        [name for name in header if name not in COLUMNS],
    )
    if missing or unknown or len(set(header)) < len(header):
        twice = [name for name in COLUMNS if header.count(name) > 1]
        faults = {"missing": missing, "unknown": unknown, "twice": twice}
        message = "; ".join(f"{fault}: {listing(names)}" for fault, names in faults.items() if names)
        raise ExperimentFileError(path, f"line 2: columns {message}")


def _value(path: str | Path, line: int, column: str, cell: str) -> Any:
    """Return a cell as its column's type."""
    kind, _, optional = COLUMNS[column].partition(" | ")
    if optional and not cell:
        return None
    try:
        return _TYPES[kind](cell)
    except ValueError:
        wanted = {"int": "a whole number", "float": "a finite number"}[kind] + (" or nothing" if optional else "")
        raise ExperimentFileError(path, f"line {line}, column {column}: {cell!r} is not {wanted}") from None


def _finite(cell: str) -> float:
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return number


_TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": _finite}
