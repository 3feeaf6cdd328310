"""A picture of one code: the words that use it, and the pictures that use it most, with its regions framed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fairseq_parp.figures import blank, write
from fairseq_parp.retrieval.embedding import Embedded
from fairseq_parp.retrieval.sheet import RIGHT, read_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 8
"""Words, and pictures."""


def pictures_of(embedded: Embedded, code: int) -> list[int]:
    """Return the pictures of which the largest part of the regions is next to a code; none without such a region."""
    parts = torch.stack([(each.nearest == code).double().mean() for each in embedded.image_codes])
    order = parts.argsort(descending=True, stable=True)[:SHOWN].tolist()
    return [row for row in order if parts[row] > 0]


def draw_code(embedded: Embedded, code: int, words: Counter[str], pictures: str | Path, path: str | Path) -> None:
    """Draw the words of a code as bars, and beside them its pictures.

    Args:
        embedded: the split.
        code: its number.
        words: how many features of each word are next to the code.
        pictures: folder with a picture file at each picture's id.
        path: path of the PNG to write.

    Raises:
        ImagesError: a picture is not there or cannot be read; all of these are named.
    """
    rows = pictures_of(embedded, code)
    shown = read_pictures(Path(pictures), [embedded.ids[row] for row in rows])
    figure = blank(11, 4.5)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1, 2])
    left, right = parts
    left.suptitle(f"code {code}: words")
    axes = left.add_subplot()
    names = words.most_common(SHOWN)[::-1]
    axes.barh([name for name, _ in names], [count for _, count in names])
    axes.set_xlabel("features next to the code")
    right.suptitle("pictures that use it most")
    for place, row in enumerate(rows, 1):
        cell = right.add_subplot(2, SHOWN // 2, place)
        cell.imshow(shown[embedded.ids[row]], extent=(0, 1, 1, 0), aspect="auto")
        cell.set(xticks=[], yticks=[])
        _frame(cell, embedded, row, code)
    write(figure, path)


def _frame(cell: Axes, embedded: Embedded, row: int, code: int) -> None:
    """Frame the regions of a picture that are next to the code."""
    from matplotlib.patches import Rectangle

    if embedded.boxes is None:
        return
    for left, top, right, bottom in embedded.boxes[row][embedded.image_codes[row].nearest == code].tolist():
        cell.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=RIGHT, linewidth=2))
