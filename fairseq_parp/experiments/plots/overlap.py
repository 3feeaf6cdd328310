"""``overlap-SPARSITY.png``: overlap of the weights that the runs keep, with each other and with MPI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.experiments.procedures import BASELINE
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import group, series, trainings
from fairseq_parp.mask_files.comparing import compare, within
from fairseq_parp.mask_files.heatmap import heat_map
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.sparsity import MaskSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_SHOWN = 8
"""Masks in one picture: it has a line for every pair."""


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:
    """Draw a picture for each sparsity of each pretrained model; MPI is the baseline.

    All runs are there, or where these are too many, the lowest seeds: of the main settings first.
    """
    here = [row for row in rows if row.method not in (BASELINE, "mpi") and (folder / row.checkpoint).is_file()]
    main = {system.one.run for line in series(trainings(here)) for system in line}
    for sparsity, rows_of in sorted(group(here, lambda row: row.sparsity).items()):
        for number, (mpi, members) in enumerate(_by_model(rows_of, folder), start=1):
            runs = _few(members, main)
            if len(runs) > 1:
                name = f"overlap-{sparsity:g}" + (f"-{number}" if number > 1 else "")
                yield name, _draw({row.run: read_mask(folder / row.checkpoint) for row in runs}, mpi)


def _by_model(rows: Sequence[ResultRow], folder: Path) -> list[tuple[MaskSet | None, list[ResultRow]]]:
    """Put rows of one sparsity together whose scope is one, and whose pretrained model, thus their MPI mask, is one."""
    files = {row.pretrained_mask: folder / row.pretrained_mask for row in rows}
    masks = {name: read_mask(path) if path.is_file() else None for name, path in files.items()}
    models = {name: name if mask is None else mask.digest() for name, mask in masks.items()}
    there = {row.checkpoint: folder / row.checkpoint for row in rows}
    covered = {name: tuple(read_mask(path).bits) if path.is_file() else () for name, path in there.items()}
    groups = group(rows, lambda row: (models[row.pretrained_mask], covered[row.checkpoint])).values()
    return [(masks[members[0].pretrained_mask], members) for members in groups]


def _draw(masks: Mapping[str, MaskSet], mpi: MaskSet | None) -> Figure:
    start = mpi and within(mpi, next(iter(masks.values())))
    return heat_map(compare(masks, start), f"MPI, sparsity {mpi.sparsity:.4g}" if mpi else "")


def _few(rows: Sequence[ResultRow], main: set[str]) -> list[ResultRow]:
    systems = trainings(rows)
    every = [row for system in systems for row in system.rows]
    lowest = sorted((system.one for system in systems), key=lambda row: row.run not in main)
    return every if len(every) <= MAX_SHOWN else lowest[:MAX_SHOWN]
