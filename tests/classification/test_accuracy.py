"""Accuracy, its interval, and the confusion matrix, by cases worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib import pyplot

from fairseq_parp.classification.confusion import confusion, draw
from fairseq_parp.scoring.accuracy import Accuracy, accuracy_of, commonest


@pytest.mark.parametrize(("correct", "total"), [(45, 50), (0, 13), (13, 13), (1, 3), (102, 117)])
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    z, p = 1.959963984540054, correct / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    assert Accuracy(correct, total).interval() == pytest.approx((max(middle - half, 0), min(middle + half, 1)))


def test_counts() -> None:
    assert accuracy_of(["a", "b", "b"], ["a", "b", "a"]) == Accuracy(2, 3)
    assert commonest(["a", "b", "b"]).value == pytest.approx(2 / 3)


def test_rows_are_true_labels_and_columns_are_found_ones() -> None:
    counts = confusion(["a", "a", "a", "b"], ["a", "b", "b", "b"], ["a", "b", "c"])
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("size", [2, 74])
def test_the_picture_has_the_fraction_of_each_row_as_its_colour(size: int, tmp_path: Path) -> None:
    """The diagonal is dark where every example is right, and a label without examples stays white."""
    labels = [f"label{number}" for number in range(size)]
    true = labels[:-1] * 2
    draw(confusion(true, true, labels), labels, "all right", tmp_path / "matrix.png")
    image = pyplot.imread(tmp_path / "matrix.png")
    dark = (image[..., :3].sum(-1) < 1.2) & (image[..., 2] > image[..., 0] + 0.2)  # the darkest blue of the map
    assert dark.any()
    assert image.shape[0] > 500
