"""``fairseq-parp mask overlap``: IOU or cosine of masks beside chance, overall, per layer and per kind of module."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.cli.outputs import OutputPicture
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.mask_files import ANY_MASK
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.mask_files.comparing import MaskComparison
    from fairseq_parp.sparsity.overlap import Overlap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("masks", metavar="MASK", type=Path, nargs="+", help=f"two or more: {ANY_MASK}")
    parser.add_argument("--baseline", metavar="MASK", type=Path, help="mask to compare each mask with, such as MPI")
    parser.add_argument(
        "--measure", choices=("iou", "cosine"), default="iou", help="intersection over union of kept weights, or cosine"
    )
    parser.add_argument("--plot", metavar="PNG", type=OutputPicture, help="also draw a heat map")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Compare the masks; print tables or JSON, draw."""
    from fairseq_parp.mask_files.comparing import compare  # here, so that --help needs no torch
    from fairseq_parp.mask_files.heatmap import draw
    from fairseq_parp.mask_files.reading import read_mask

    if not 2 <= len(arguments.masks) <= 52:
        raise ConfigError("MASK", len(arguments.masks), "from 2 to 52 masks can be compared")
    masks = {name: read_mask(path) for name, path in zip(_names(arguments.masks), arguments.masks, strict=True)}
    baseline = None if arguments.baseline is None else read_mask(arguments.baseline)
    comparison = compare(masks, baseline)
    print(json.dumps(comparison.to_json(), indent=2) if arguments.json else render(comparison, arguments.measure))
    if arguments.plot:
        name = f"{arguments.baseline}, sparsity {baseline.sparsity:.4g}" if baseline else ""
        draw(comparison, arguments.plot, name, arguments.measure)
        if not arguments.json:
            print(f"\nheat map: {absolute(arguments.plot)}")
    return 0


def _names(paths: Sequence[Path]) -> list[str]:
    """Return short names for masks: the files' own where those differ, else with as much of the path as it takes."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {path}" for number, path in enumerate(paths, start=1)]


def render(comparison: MaskComparison, measure: str = "iou") -> str:
    """Return overlaps as text: the matrix over all weights, then each layer and each kind of module."""
    from fairseq_parp.sparsity.overlap import MEASURES

    def cell(found: Overlap) -> str:
        value, chance = found.by(measure)
        return f"{value:.4f} ({chance:.4f})"

    def cell_of(one: str, other: str) -> str:
        return "1" if one == other else cell(comparison.overall(one, other))

    letter = comparison.letters
    legend = {letter[name]: {"sparsity": f"{s:.6f}", "": name} for name, s in comparison.sparsities.items()}
    overall = {letter[one]: {letter[other]: cell_of(one, other) for other in letter} for one in letter}
    for name, parts in comparison.baselines.items():
        overall[letter[name]]["baseline"] = cell(parts["overall"][""])
    lines = [f"{MEASURES[measure]}; in brackets, the value of independent masks of the same densities"]
    for title, rows in (("mask", legend), ("all weights", overall)):
        lines += ["", *_grid(title, rows)]
    columns = comparison.columns
    for title in ("layer", "kind"):
        parts_of = next(iter(columns.values()))[title]
        rows = {row: {name: cell(parts[title][row]) for name, parts in columns.items()} for row in parts_of}
        lines += ["", *_grid(title, rows)]
    return "\n".join(lines)


def _grid(title: str, rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines of a table of cells; a column without head is aligned left."""
    heads = [title, *next(iter(rows.values()))]
    left = {0, *(number for number, head in enumerate(heads) if not head)}
    return table(heads, [[row, *cells.values()] for row, cells in rows.items()], left)
