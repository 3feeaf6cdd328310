"""``overlap-SPARSITY.png``: which weights the runs keep, each run against each other and against MPI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.experiments.results import Row
from fairseq_parp.experiments.systems import group, series, trainings
from fairseq_parp.mask_files.comparing import compare
from fairseq_parp.mask_files.heatmap import heat_map
from fairseq_parp.mask_files.reading import read_mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 8
"""Masks in one picture: it has a line for every pair."""


def figures(rows: Sequence[Row], folder: Path) -> Iterator[tuple[str, Figure]]:
    """Draw a picture for each sparsity of each pretrained model; MPI is the baseline.

    All runs are there, or where these are too many, the lowest seeds: of the main settings first.
    """
    here = [row for row in rows if row.method not in ("dense", "mpi") and (folder / row.checkpoint).is_file()]
    main = {system.one.run for line in series(trainings(here)) for system in line}
    for (sparsity, start), members in sorted(group(here, lambda row: (row.sparsity, row.pretrained_mask)).items()):
        runs = _few(members, main)
        if len(runs) > 1:
            masks = {row.run: read_mask(folder / row.checkpoint) for row in runs}
            baseline = folder / start
            model = (
                f"-{Path(start).stem}" if len({r.pretrained_mask for r in here if r.sparsity == sparsity}) > 1 else ""
            )
            comparison = compare(masks, read_mask(baseline) if start and baseline.is_file() else None)
            figure = heat_map(comparison)
            figure.text(0.99, 0.99, f"baseline: MPI at {sparsity:g}", fontsize=9, ha="right", va="top")
            yield f"overlap-{sparsity:g}{model}", figure


def _few(rows: Sequence[Row], main: set[str]) -> list[Row]:
    systems = trainings(rows)
    every = [row for system in systems for row in system.rows]
    lowest = sorted((system.one for system in systems), key=lambda row: row.run not in main)
    return every if len(every) <= MOST else lowest[:MOST]
