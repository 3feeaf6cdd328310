"""Overlaps as a picture: every pair of masks, and every pair in every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_parp.figures import blank, write
from fairseq_parp.mask_files.comparing import MaskComparison, Parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "cividis"
"""Reads the same with and without red-green colour blindness, and in grey."""


def draw(comparison: MaskComparison, path: str | Path) -> None:
    """Draw the overlaps into the PNG file ``path``.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    write(heat_map(comparison), path)


def heat_map(comparison: MaskComparison) -> Figure:
    """Return the overlaps as a picture.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    columns, letters = comparison.columns, comparison.letters
    layers = list(next(iter(columns.values()))["layer"])
    wide, high = 1.0 * len(letters), max(1.0 * len(letters), 0.4 * len(columns))
    figure = blank(wide + 0.55 * len(layers) + 3, high + 1.2 + 0.2 * len(letters))
    legend = [f"{letters[name]}: {name}, sparsity {sparsity:.4g}" for name, sparsity in comparison.sparsities.items()]
    figure.suptitle("\n".join(legend), fontsize=9, x=0.02, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(wide, 0.55 * len(layers) + 1))
    _matrix(left, comparison)
    image = _layers(right, columns, layers)
    figure.colorbar(image, ax=[left, right], label="IOU of kept weights")
    return figure


def _matrix(axes: Axes, comparison: MaskComparison) -> None:
    names, letters = list(comparison.sparsities), list(comparison.letters.values())
    values = [[1.0 if one == other else comparison.iou(one, other).iou for other in names] for one in names]
    axes.imshow(values, vmin=0, vmax=1, cmap=COLOURS)
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            if one != other:
                found = comparison.iou(one, other)
                _write(axes, column, row, found.iou, f"{found.iou:.3f}\nchance\n{found.chance:.3f}")
    axes.set_xticks(range(len(names)), letters)
    axes.set_yticks(range(len(names)), letters)
    axes.set_title("All weights")


def _layers(axes: Axes, columns: Mapping[str, Parts], layers: Sequence[str]) -> Any:
    values = [[parts["layer"][layer].iou for layer in layers] for parts in columns.values()]
    image = axes.imshow(values, vmin=0, vmax=1, cmap=COLOURS, aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            _write(axes, column, row, value, f"{value:.2f}")
    axes.set_xticks(range(len(layers)), [layer.rpartition(".")[2] for layer in layers])
    axes.set_yticks(range(len(columns)), list(columns))
    axes.set(title="By layer", xlabel="Transformer layer")
    return image


def _write(axes: Axes, x: int, y: int, value: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color="black" if value > 0.55 else "white")
