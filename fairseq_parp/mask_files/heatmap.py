"""Overlaps as a picture: every pair of masks, and every pair in every layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from fairseq_parp.figures import blank, write
from fairseq_parp.mask_files.comparing import MaskComparison, Parts

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


def draw(comparison: MaskComparison, path: str | Path, baseline: str = "") -> None:
    """Draw the overlaps into the PNG file ``path``; ``baseline`` names the baseline.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    write(heat_map(comparison, baseline), path)


def heat_map(comparison: MaskComparison, baseline: str = "") -> Figure:
    """Return the overlaps as a picture; ``baseline`` names the baseline.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    columns, letters = comparison.columns, comparison.letters
    layers = list(next(iter(columns.values()))["layer"])
    wide, high = 1.0 * len(letters), max(1.0 * len(letters), 0.4 * len(columns))
    figure = blank(wide + 0.55 * len(layers) + 3, high + 1.2 + 0.2 * (len(letters) + 1))
    legend = [f"{letters[name]}: {name}, sparsity {sparsity:.4g}" for name, sparsity in comparison.sparsities.items()]
    legend += [f"baseline: {baseline}"] if comparison.baselines and baseline else []
    figure.suptitle("\n".join(legend), fontsize=9, x=0.02, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(wide, 0.55 * len(layers) + 1))
    every = [each.iou for parts in columns.values() for each in (parts["overall"][""], *parts["layer"].values())]
    shade: _Shade = {"vmin": math.floor(10 * min(min(every), 0.9)) / 10, "vmax": 1.0, "cmap": COLOURS}
    _matrix(left, comparison, shade)
    image = _layers(right, columns, layers, shade)
    figure.colorbar(image, ax=[left, right], label="IOU of kept weights")
    return figure


def _matrix(axes: Axes, comparison: MaskComparison, shade: _Shade) -> None:
    names, letters = list(comparison.sparsities), list(comparison.letters.values())
    values = [[1.0 if one == other else comparison.iou(one, other).iou for other in names] for one in names]
    axes.imshow(values, **shade)
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            if one != other:
                found = comparison.iou(one, other)
                _write(axes, column, row, found.iou, f"{digits(found.iou)}\nchance\n{found.chance:.3f}", shade)
    axes.set_xticks(range(len(names)), letters)
    axes.set_yticks(range(len(names)), letters)
    axes.set_title("All weights")


def _layers(axes: Axes, columns: Mapping[str, Parts], layers: Sequence[str], shade: _Shade) -> Any:
    values = [[parts["layer"][layer].iou for layer in layers] for parts in columns.values()]
    image = axes.imshow(values, aspect="auto", **shade)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            _write(axes, column, row, value, digits(value), shade)
    axes.set_xticks(range(len(layers)), [layer.rpartition(".")[2] for layer in layers])
    axes.set_yticks(range(len(columns)), list(columns))
    axes.set(title="By layer", xlabel="Transformer layer")
    return image


def digits(value: float) -> str:
    """Return a share in two digits, or in four near 1, where two would hide the difference.

    >>> digits(0.5), digits(0.9988), digits(0.999999), digits(1.0)
    ('0.50', '.9988', '.9999', '1')
    """
    if value >= 1.0:
        return "1"
    return f"{value:.2f}" if value < 0.9 else f".{math.floor(value * 10_000 + 1e-6)}"


def _write(axes: Axes, x: int, y: int, value: float, text: str, shade: _Shade) -> None:
    bright = value > shade["vmin"] + 0.55 * (shade["vmax"] - shade["vmin"])
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color="black" if bright else "white")
