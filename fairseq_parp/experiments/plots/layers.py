"""``layers.png``: sparsity of each Transformer layer in the final checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.experiments.plots.style import finish, label_of, legend_below, look_of, panels
from fairseq_parp.experiments.procedures import BASELINE
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import System, group, series, trainings
from fairseq_parp.mask_files.report import report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:
    """Draw a panel for each training set and sparsity; of several seeds, the lowest is drawn."""
    sparse = [row for row in rows if row.method != BASELINE and not row.mask_from]
    systems = [system for line in series(trainings(sparse)) for system in line]
    systems = [system for system in systems if (folder / system.one.checkpoint).is_file()]
    places = group(systems, lambda system: (system.one.data, system.one.config, system.one.sparsity))
    if not places:
        return
    figure, axes = panels(len(places), 2)
    protocols = {row.protocol for row in sparse}
    for panel, place in zip(axes, sorted(places), strict=True):
        _draw(panel, places[place], folder, protocols)
        data, config, sparsity = place
        finish(panel, f"sparsity {sparsity:g}, {data} ({config})", "Transformer layer", "fraction of zeros")
    legend_below(figure)
    yield "layers", figure


_ROOM = 0.05
"""The scale of layers reaches at least this far to both sides of the requested sparsity."""


def _draw(axes: Axes, systems: Sequence[System], folder: Path, protocols: set[str]) -> None:
    for system in systems:
        row = system.one
        layers = report(folder / row.checkpoint).zeros.layers
        label = label_of(row, protocols)
        zeros = [count.sparsity for count in layers.values()]
        axes.plot(
            [name.rpartition(".")[2] for name in layers],
            zeros,
            label=label,
            fillstyle="none",
            **look_of(row, [each.one for each in systems]),
        )
    asked = systems[0].one.sparsity
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, asked - _ROOM), max(high, asked + _ROOM))
    axes.axhline(asked, color="black", linestyle=":", linewidth=1, label="asked for, overall")
