"""Draws overlaps: every pair of masks, over all weights, by layer and by kind of map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from fairseq_parp.figures import blank, write
from fairseq_parp.mask_files.comparing import MaskComparison, Parts
from fairseq_parp.sparsity.overlap import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "cividis"
"""Reads the same with and without red-green colour blindness, and in grey."""


class _Shade(TypedDict):
    """How an overlap becomes a colour: the darkest one is just below the lowest overlap of the picture."""

    vmin: float
    vmax: float
    cmap: str


def draw(comparison: MaskComparison, path: str | Path, baseline: str = "", measure: str = "iou") -> None:
    """Draw the overlaps into the PNG file ``path``; ``baseline`` names the baseline.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    write(heat_map(comparison, baseline, measure), path)


def heat_map(comparison: MaskComparison, baseline: str = "", measure: str = "iou") -> Figure:
    """Return the overlaps as a picture; ``baseline`` names the baseline.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    columns, letters = comparison.columns, comparison.letters
    parts = {title: list(next(iter(columns.values()))[title]) for title in ("layer", "kind")}
    widths = [1.0 * len(letters), *(0.6 * len(names) + 0.6 for names in parts.values())]
    high = max(1.0 * len(letters), 0.5 * len(columns))
    figure = blank(sum(widths) + 2.4, high + 1.2 + 0.2 * (len(letters) + 2))
    legend = [f"{letters[name]}: {name}, sparsity {sparsity:.4g}" for name, sparsity in comparison.sparsities.items()]
    legend += [f"baseline: {baseline}"] if comparison.baselines and baseline else []
    legend += ["small: value of independent masks of the same densities"]
    figure.suptitle("\n".join(legend), fontsize=9, x=0.02, ha="left")
    axes = figure.subplots(1, 3, width_ratios=widths)
    every = [
        value
        for column in columns.values()
        for found in (column["overall"][""], *column["layer"].values(), *column["kind"].values())
        for value in found.by(measure)[:1]
    ]
    shade: _Shade = {"vmin": math.floor(10 * min(min(every), 0.9)) / 10, "vmax": 1.0, "cmap": COLOURS}
    _matrix(axes[0], comparison, shade, measure)
    for place, (title, names) in zip(axes[1:], parts.items(), strict=True):
        image = _parts(place, columns, title, names, shade, measure)
    figure.colorbar(image, ax=list(axes), label=MEASURES[measure])
    return figure


def _matrix(axes: Axes, comparison: MaskComparison, shade: _Shade, measure: str) -> None:
    names, letters = list(comparison.sparsities), list(comparison.letters.values())
    found = {(one, other): comparison.overall(one, other).by(measure) for one, other in permutations(names, 2)}
    axes.imshow([[found.get((one, other), (1.0,))[0] for other in names] for one in names], **shade)
    for (one, other), (value, chance) in found.items():
        _write(axes, names.index(other), names.index(one), value, chance, shade)
    axes.set_xticks(range(len(names)), letters)
    axes.set_yticks(range(len(names)), letters)
    axes.set_title("All weights")


def _parts(
    axes: Axes, columns: Mapping[str, Parts], title: str, names: Sequence[str], shade: _Shade, measure: str
) -> Any:
    found = [[parts[title][name].by(measure) for name in names] for parts in columns.values()]
    image = axes.imshow([[value for value, _ in line] for line in found], aspect="auto", **shade)
    for row, line in enumerate(found):
        for column, (value, chance) in enumerate(line):
            _write(axes, column, row, value, chance, shade)
    axes.set_xticks(range(len(names)), [name.rpartition(".")[2] for name in names])
    axes.set_yticks(range(len(columns)), list(columns))
    axes.set(title=f"By {title}", xlabel="Transformer layer" if title == "layer" else "")
    return image


def digits(value: float) -> str:
    """Return a share in three digits, or in four near 1, where three would hide the difference.

    >>> digits(0.5), digits(0.9988), digits(0.999999), digits(1.0)
    ('0.500', '.9988', '.9999', '1')
    """
    if value >= 1.0:
        return "1"
    return f"{value:.3f}" if value < 0.99 else f".{math.floor(value * 10_000 + 1e-6)}"


def _write(axes: Axes, x: int, y: int, value: float, chance: float, shade: _Shade) -> None:
    bright = value > shade["vmin"] + 0.55 * (shade["vmax"] - shade["vmin"])
    style: dict[str, Any] = {"ha": "center", "color": "black" if bright else "white"}
    axes.text(x, y, digits(value), va="bottom", fontsize=8, **style)
    axes.text(x, y, digits(chance), va="top", fontsize=6, **style)
