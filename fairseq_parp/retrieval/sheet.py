"""A contact sheet: captions, and beside each the pictures that the model ranks first for it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_parp.figures import blank, write
from fairseq_parp.grounded.pictures import read_picture, require_pictures
from fairseq_parp.grounded.recall import Ranks, first
from fairseq_parp.retrieval.embedding import Embedded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROWS, COLUMNS = 10, 5
"""Captions, and pictures of each."""

SEED = 1
"""Of the choice of captions: it does not depend on the model."""

RIGHT = "#009E73"
"""Colour of the frame of a caption's own picture."""

_LINE = 34


def draw_sheet(embedded: Embedded, found: Ranks, pictures: str | Path, path: str | Path) -> None:
    """Draw random captions with their rank and the pictures that are ranked first; a caption's own has a frame.

    Args:
        embedded: the split.
        found: its ranks.
        pictures: folder with a picture file at each picture's id.
        path: the PNG file to write.

    Raises:
        ImagesError: a picture is not there or cannot be read; all of these are named.
        MissingToolError: matplotlib or Pillow is not installed.
    """
    chosen = sorted(np.random.default_rng(SEED).permutation(len(embedded.captions))[:ROWS].tolist())
    places = first(embedded.captions[chosen], embedded.images, COLUMNS).tolist()
    shown = read_pictures(Path(pictures), [embedded.ids[place] for row in places for place in row])
    figure = blank(3 + 1.3 * COLUMNS, 1.4 * len(chosen))
    grid: Any = figure.subplots(len(chosen), COLUMNS + 1, squeeze=False, width_ratios=[2.2, *[1] * COLUMNS])
    for axes, caption, row in zip(grid, chosen, places, strict=True):
        _caption(axes[0], embedded, caption, int(found.of_images[caption]))
        for cell in axes[1:]:
            cell.set_axis_off()
        for cell, place in zip(axes[1:], row, strict=False):
            _picture(cell, shown[embedded.ids[place]], right=place == int(embedded.owners[caption]))
    write(figure, path)


def _caption(axes: Axes, embedded: Embedded, caption: int, rank: int) -> None:
    text = embedded.texts[caption] if embedded.texts else embedded.paths[caption]
    lines = textwrap.wrap(text, _LINE)[:4]
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    label = "\n".join([*lines, f"own picture: rank {rank} of {len(embedded.images)}"])
    axes.text(0, 0.5, label, va="center", fontsize=8)


def _picture(axes: Axes, pixels: Any, *, right: bool) -> None:
    axes.imshow(pixels)
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color=RIGHT if right else "none", linewidth=4)


def read_pictures(folder: Path, ids: list[str]) -> dict[str, Any]:
    """Return the pixels of pictures, (H, W, 3) each, by id.

    Raises:
        ImagesError: a picture is not there or cannot be read; all of these are named.
    """
    require_pictures(folder, ids)
    return {name: read_picture(folder / name, 224) for name in dict.fromkeys(ids)}
