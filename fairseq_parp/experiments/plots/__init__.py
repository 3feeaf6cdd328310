"""Pictures of an experiment's results, one module each.

Each module has ``figures(rows, folder)``, which yields the name and picture of each figure for which the rows have
data; ``folder`` is that of the results file.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.figures import write

PICTURES = ("error_rates", "intervals", "layers", "churn", "overlap", "cost")


def draw_all(rows: Sequence[ResultRow], folder: Path, out: Path) -> Iterator[Path]:
    """Write every picture that has something to show into ``out`` as PNG, and yield its path.

    Args:
        rows: rows of the results file.
        folder: the folder of the results file; checkpoints, masks and logs that are not there are not drawn.
        out: folder for the pictures.

    Raises:
        MissingToolError: matplotlib is not installed.
        CheckpointError, MaskError: a checkpoint or a mask file is damaged.
        ComparisonError: two runs have the same setting and seed.
    """
    for picture in PICTURES:
        for name, figure in importlib.import_module(f"{__name__}.{picture}").figures(rows, folder):
            path = out / f"{name}.png"
            write(figure, path)
            yield path
