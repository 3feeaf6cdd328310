"""Draws the confusion matrix: the true label by row, the model's label by column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.figures import blank, write

WRITTEN = 20
"""Labels up to which the counts are written into the cells; more would not be readable."""

LONGEST = 30
"""Letters of a label that are written; the rest of a longer one would leave no room for the matrix."""


def confusion(true: Sequence[str], found: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return (labels, labels) counts: a row for each true label, a column for each that was found.

    >>> confusion(["A", "A", "B"], ["A", "B", "B"], ["A", "B"]).tolist()
    [[1, 1], [0, 1]]
    """
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, ([place[each] for each in true], [place[each] for each in found]), 1)
    return counts


def draw(counts: NDArray[np.int64], labels: Sequence[str], title: str, path: str | Path) -> None:
    """Write the matrix as a PNG: colour is the fraction of a true label's examples, numbers are counts.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    size = min(24.0, max(5.0, 2.5 + 0.28 * len(labels)))
    figure = blank(size, size * 0.9)
    axes = figure.add_subplot()
    of_label = counts.sum(1, keepdims=True)
    share = np.divide(counts, of_label, out=np.zeros(counts.shape), where=of_label > 0)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    names = [label if len(label) <= LONGEST else f"{label[: LONGEST - 3]}..." for label in labels]
    axes.set_xticks(range(len(labels)), names, rotation=90)
    axes.set_yticks(range(len(labels)), names)
    if len(labels) > 2 * WRITTEN:
        axes.tick_params(labelsize=6)
    axes.set_xlabel("label found")
    axes.set_ylabel("true label")
    axes.set_title(title)
    if len(labels) <= WRITTEN:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=shade)
    figure.colorbar(image, ax=axes, label="fraction of the true label's examples", shrink=0.8)
    write(figure, path)
