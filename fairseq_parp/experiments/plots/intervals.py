"""``intervals.png``: effect of the interval between two re-prunes.

Between two re-prunes a weight moves by up to about interval x learning rate. If that is small beside the threshold, the
smallest magnitude that MPI keeps, hardly any zero can return, and PARP keeps the mask of MPI. (The threshold of the
last checkpoint would be useless: kept weights shrink, and returning zeros are zeroed again, so it ends near 0.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_parp import checkpoints
from fairseq_parp.experiments.plots.style import finish, legend_below, of_number, panels
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import System, group, interval_of, reprunes, systems_of
from fairseq_parp.mask_files.reading import tensors_of
from fairseq_parp.safetensors_files import notes
from fairseq_parp.sparsity.masks import MaskSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Sequence[System]
"""Systems that differ in the interval alone."""


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:
    """Draw, where a method was run with several intervals, UER and IOU with MPI; never stands at the last update."""
    adjusted = [row for row in rows if reprunes(row) and not row.mask_from]
    settings = group(systems_of(adjusted), lambda system: (system.place, _name(system.one)))
    lines = [line for line in settings.values() if len({system.one.interval for system in line}) > 1]
    if not lines:
        return
    places = group(lines, lambda line: line[0].place)
    looks = {name: of_number(n) for n, name in enumerate(dict.fromkeys(_name(line[0].one) for line in lines))}
    figure, axes = panels(3 * len(places), 3)
    for number, ((data, config, protocol, split), members) in enumerate(places.items()):
        uer, iou, moved = axes[3 * number : 3 * number + 3]
        for line in members:
            look = looks[_name(line[0].one)]
            _over_interval(uer, line, "uer", look)
            _over_interval(iou, line, "iou_mpi", look)
            _over_move(moved, line, folder, look)
        for panel in (uer, iou):
            _ticks(panel, members)
        title = f"{split}, {data} ({config}, {protocol})"
        finish(uer, title, "updates between re-prunes", "UER, %")
        finish(iou, title, "updates between re-prunes", _overlap_label(members))
        finish(moved, title, "interval x learning rate / cut", _overlap_label(members))
    legend_below(figure)
    yield "intervals", figure


def pretrained_cut(mask: Path) -> float | None:
    """Return the smallest magnitude that an MPI mask keeps of the pretrained weights that it was made from.

    None if a file is missing.

    Raises:
        MaskError: the mask file is damaged.
        CheckpointError: the pretrained file cannot be read safely.
    """
    source = notes(mask).get("source", "") if mask.is_file() else ""
    if not Path(source).is_file():
        return None
    tensors = tensors_of(checkpoints.read(source, with_fairseq=False))
    return min(float(tensors[name][kept].abs().min()) for name, kept in MaskSet.load(mask).items() if kept.any())


def _name(row: ResultRow) -> str:
    return f"{row.method} {row.sparsity:g}, lr {row.lr:g}"


def _effective(row: ResultRow) -> int:
    """Return the interval; without re-prunes the run is one interval."""
    return row.interval or row.updates


def _over_interval(axes: Axes, line: Line, column: str, look: Mapping[str, Any]) -> None:
    """Draw the mean over the seeds, with bars from the least to the most."""
    points = [
        (_effective(system.one), mean, mean - min(system.values(column)), max(system.values(column)) - mean)
        for system in line
        if (mean := system.mean(column)) is not None
    ]
    if points:
        at, means, below, above = zip(*points, strict=True)
        axes.errorbar(at, means, [below, above], label=_name(line[0].one), capsize=3, **look)


def _over_move(axes: Axes, line: Line, folder: Path, look: Mapping[str, Any]) -> None:
    """Draw a mark for each run; none where the MPI mask or the pretrained checkpoint is gone."""
    cut = pretrained_cut(folder / line[0].one.pretrained_mask)
    points = [
        (_effective(row) * row.lr / cut, row.iou_mpi)
        for system in line
        for row in system.rows
        if cut and row.iou_mpi is not None
    ]
    axes.set_xscale("log")
    if points:
        axes.plot(*zip(*sorted(points), strict=True), **{**look, "linestyle": ""}, label=_name(line[0].one))


def _overlap_label(lines: Sequence[Line]) -> str:
    """Return the label of an axis of IOUs, with chance as text: its value is too low for the axis."""
    levels = {f"{level:.3f}" for line in lines for system in line for level in system.values("chance")}
    return f"IOU with MPI (chance {', '.join(sorted(levels))})"


def _ticks(axes: Axes, lines: Sequence[Line]) -> None:
    """Mark the intervals that were run, and no others."""
    words = {_effective(system.one): interval_of(system.one) for line in lines for system in line}
    axes.set_xscale("log")
    axes.set_xticks(list(words), list(words.values()))
    axes.minorticks_off()
