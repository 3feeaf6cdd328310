"""``cost.png``: number of finetunings for the sparse models.

A run's finetunings are its last one and those that only prepare it (OMP's dense one, IMP's rounds). Within a method the
preparations of a lower sparsity are among those of a higher one. A grid of sparsities shares them: it takes one last
finetuning for each sparsity, and the preparations of the highest sparsity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.experiments.plots.style import finish, of_method, panels
from fairseq_parp.experiments.procedures import BASELINE
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import System, group, series, trainings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:  # noqa: ARG001 (all pictures alike)
    """Draw, for each training set and recipe, finetunings over sparsity, and those of the whole grid; one seed."""
    sparse = [row for row in rows if row.method != BASELINE and not row.mask_from]
    protocol = min((row.protocol for row in sparse), default="")  # the methods need the same ones in each
    lines = series(trainings(row for row in sparse if row.protocol == protocol))
    places = group(lines, lambda line: (line[0].one.data, line[0].one.config))
    if not places:
        return
    figure, axes = panels(2 * len(places), 2)
    for number, ((data, config), members) in enumerate(places.items()):
        each, total = axes[2 * number : 2 * number + 2]
        _each(each, members)
        finish(each, f"One sparse model, {data} ({config})", "sparsity", "finetunings")
        _total(total, members)
        finish(total, f"All sparsities of the grid, {data} ({config})", "finetunings", "")
    yield "cost", figure


def _each(axes: Axes, lines: Sequence[Sequence[System]]) -> None:
    """Draw one line for all methods that cost the same."""
    for methods in group(lines, _cost).values():
        label = ", ".join(dict.fromkeys(line[0].one.method for line in methods))
        points = [(system.one.sparsity, system.one.finetunings) for system in max(methods, key=len)]
        axes.plot(*zip(*points, strict=True), label=label, **of_method(methods[0][0].one.method))
    axes.set_xticks(sorted({system.one.sparsity for line in lines for system in line}))
    axes.set_ylim(0, 1.3 * max(system.one.finetunings for line in lines for system in line))
    axes.locator_params("y", integer=True)
    axes.legend(fontsize=9)


def _cost(line: Sequence[System]) -> tuple[tuple[float, int], ...] | int:
    """Return the finetunings of each sparsity, or of all where these are the same."""
    counts = {system.one.sparsity: system.one.finetunings for system in line}
    return line[0].one.finetunings if len(set(counts.values())) == 1 else tuple(counts.items())


def _total(axes: Axes, lines: Sequence[Sequence[System]]) -> None:
    names = [f"{line[0].one.method}\n{len(line)} sparsit{'y' if len(line) == 1 else 'ies'}" for line in lines]
    alone = [sum(system.one.finetunings for system in line) for line in lines]
    shared = [len(line) + max(system.one.finetunings for system in line) - 1 for line in lines]
    looks = (("each sparsity by itself", alone, "#BBBBBB", -0.2, ""), ("shared", shared, "#0072B2", 0.2, "//"))
    for label, counts, colour, moved, hatch in looks:
        at = [place + moved for place in range(len(lines))]
        bars = axes.barh(at, counts, 0.4, color=colour, edgecolor="white", hatch=hatch, label=label)
        axes.bar_label(bars, padding=2, fontsize=8)
    axes.set_yticks(range(len(lines)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(alone))
    axes.locator_params("x", integer=True)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)  # below: no bar ends there
