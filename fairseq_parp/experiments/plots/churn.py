"""``churn.png``: percentage of the prunable weights that each re-prune moves into or out of the mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.commands.running import records
from fairseq_parp.experiments.plots.style import finish, legend_below, of_number, panels
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import Names, group, trainings
from fairseq_parp.mask_files.report import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG = "train.log"
"""The log of fairseq-hydra-train, beside the checkpoint."""

FEW = 3
"""Re-prunes that each get a tick of their own."""

Points = dict[int, float]
"""Percent of the prunable weights on another side than at the re-prune before, by update."""


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:
    """Draw a panel for each training set, protocol and sparsity; of several seeds, the lowest is drawn."""
    systems = trainings(row for row in rows if row.interval is not None)
    curves = [(system, points) for system in systems if (points := _points(system.one, folder))]
    places = group(curves, lambda curve: (*curve[0].place[:3], curve[0].one.sparsity))
    if not places:
        return
    names = Names(systems)
    looks = {name: of_number(number) for number, name in enumerate(dict.fromkeys(names.line(s) for s, _ in curves))}
    figure, axes = panels(len(places), 3, sharey=True)
    for panel, (place, members) in zip(axes, sorted(places.items(), key=lambda item: item[0]), strict=True):
        for system, points in members:
            name = names.line(system)
            panel.plot(list(points), list(points.values()), label=name, markersize=3, linewidth=1, **looks[name])
        pruned = sorted({update for _, points in members for update in points})
        if len(pruned) <= FEW:  # matplotlib's own ticks would be fractions of an update
            panel.set_xticks(pruned)
            panel.set_xlim(pruned[0] - 0.5, pruned[-1] + 0.5)
        else:
            panel.locator_params("x", integer=True)
        data, config, protocol, sparsity = place
        finish(panel, f"sparsity {sparsity:g}, {data} ({config}, {protocol})", "update", "changed at a re-prune, %")
    _scale(axes[0], [points for _, points in curves])
    legend_below(figure)
    yield "churn", figure


def _points(row: ResultRow, folder: Path) -> Points:
    """Return the churn of each re-prune that the log shows; empty where log or checkpoint are not there."""
    checkpoint = folder / row.checkpoint
    log = checkpoint.with_name(LOG)
    if row.interval is None or not checkpoint.is_file() or not log.is_file():
        return {}
    size = report(checkpoint).prunable.size
    found = {
        _reprune_before(int(r["num_updates"]), row): r["churn"] for r in records(log, "train_inner") if "churn" in r
    }
    return {update: 100 * churn / size for update, churn in found.items() if update}


def _reprune_before(update: int, row: ResultRow) -> int:
    """Return the last update that was followed by a re-prune; the end of a run always is."""
    return update if update == row.updates or row.interval is None else update - update % row.interval


def _scale(axes: Axes, curves: Sequence[Points]) -> None:
    """Choose a logarithmic scale that has room for 0: churn falls with the learning rate, by orders of magnitude."""
    positive = [churn for points in curves for churn in points.values() if churn > 0]
    if positive:
        axes.set_yscale("symlog", linthresh=min(positive))
        axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
