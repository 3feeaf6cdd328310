"""Run the chosen rows, print the table, write the JSON and the picture."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from benchmarks import words
from benchmarks.machine import facts, load
from benchmarks.plot import draw
from benchmarks.record import records_of, text_of
from benchmarks.recordings import Recordings
from benchmarks.rows import Job, Row
from benchmarks.weights import Size
from fairseq_parp import tables
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.files import write_whole

MODULES = (
    "imports",
    "reprune",
    "gpu",
    "training",
    "adapters",
    "parts",
    "scores",
    "retrieval",
    "grounded",
    "generation",
    "batches",
    "beams",
    "words",
    "inference",
    "compact",
)
"""The modules of rows, in the order of the table."""

HEADS = ("row", "by", "ours", "peer", "ratio", "bar", "holds")
"""Of the table's columns."""


@contextlib.contextmanager
def _others_quiet() -> Iterator[None]:
    """Let fairseq, at every start, and the engines not speak of themselves between the lines of the table."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@_others_quiet()
def bench(only: str | None, path: Path, size: Size | None = None, recordings: Recordings | None = None) -> list[Row]:
    """Measure all rows whose name contains ``only``; print them, and write ``path`` (JSON), TSV and PNG beside it.

    Args:
        only: part of the rows' names; None means all.
        path: path of the JSON file.
        size: in tests, replaces the sizes of the models.
        recordings: measure the search over words on these, and nothing else.

    Raises:
        ConfigError: no row has such a name.
        ParpError: as :meth:`Recordings.read`.
    """
    machine = facts()
    every = list(words.jobs(size, recordings) if recordings else _every(size))
    chosen = [job for job in every if only is None or any(only in name for name in job.names)]
    if not chosen:
        names = "; ".join(name for job in every for name in job.names)
        raise ConfigError("--only", only, f"must be part of a row's name: {names}")
    print("\n".join(f"{name:10}{value}" for name, value in machine.items()))
    rows: list[Row] = []
    objects: list[dict[str, object]] = []
    with tqdm(chosen, unit="measurement") as progress:
        for job in progress:
            progress.set_description(job.names[0])
            gc.collect()  # a training holds itself in cycles, with all its memory
            found = [row for row in job.run() if only is None or only in row.name]
            rows += found
            objects += [{**_without_nan(row), **machine, "load": load()} for row in found]
            write_whole(path, json.dumps(objects, indent=1).encode())  # measured rows stay after any error
            write_whole(path.with_suffix(".tsv"), text_of(records_of(rows, machine)).encode())
    print("\n".join(table(rows)))
    print(f"written: {absolute(path)}\nwritten: {absolute(path.with_suffix('.tsv'))}")
    if measured := [row for row in rows if row.runs]:
        picture = path.with_suffix(".png")
        draw(measured, f"{machine['machine']}\n{machine['versions']}; load {machine['load']}", picture)
        print(f"written: {absolute(picture)}")
    return rows


def _without_nan(row: Row) -> dict[str, object]:
    """Return a row for JSON, which has no NaN."""
    return {name: None if value != value else value for name, value in asdict(row).items()}


def _every(size: Size | None) -> Iterator[Job]:
    for name in MODULES:
        yield from importlib.import_module(f"benchmarks.{name}").jobs(size)


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table; spreads are (largest - smallest) / median."""
    return tables.table(HEADS, map(_cells, rows), left={0, 1, 5, 6})


def _cells(row: Row) -> tuple[str, ...]:
    ours, peer = _amount(row.ours, row.ours_spread, row.unit), _amount(row.peer, row.peer_spread, row.unit)
    bar = "none" if row.bar is None else f"{'>=' if row.faster else '<='} {row.bar:g}"
    because = f": {row.why}" if row.why else ""
    return row.name, row.by, ours, peer, f"{row.ratio:.4g}", bar, {"no": "NO"}.get(row.verdict, row.verdict) + because


def _amount(value: float, spread: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    text = f"{1000 * value:,.1f} ms" if unit == "s" else f"{value / 2**20:,.1f} MiB"
    return f"{text} ±{spread / 2:.0%}"
