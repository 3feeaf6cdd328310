"""``error_rates.png``: UER and WER over sparsity, dense as a band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairseq_parp.experiments.plots.style import finish, label_of, legend_below, look_of, panels
from fairseq_parp.experiments.procedures import BASELINE
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import System, group, series, systems_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_APART = 0.01
"""Sparsity by which neighbouring methods are moved apart, so that no mark hides another."""


def figures(rows: Sequence[ResultRow], folder: Path) -> Iterator[tuple[str, Figure]]:  # noqa: ARG001 (all pictures alike)
    """Draw the mean over the seeds; bars reach from the best seed to the worst."""
    lines = [line for line in series(systems_of(rows)) if not line[0].one.mask_from]
    places = group(lines, lambda line: (line[0].one.data, line[0].one.config, line[0].one.split))
    places = {place: members for place, members in places.items() if any(map(_sparse, members))}
    rates = ["uer", "wer"] if any(row.wer is not None for row in rows) else ["uer"]
    if not places:
        return
    figure, axes = panels(len(places) * len(rates), len(rates))
    protocols = {row.protocol for row in rows}
    for number, ((data, config, split), members) in enumerate(places.items()):
        for rate, panel in zip(rates, axes[number * len(rates) :], strict=False):
            _draw(panel, members, rate, protocols)
            finish(panel, f"{split}, finetuned on {data} ({config})", "sparsity", f"{rate.upper()}, %")
    legend_below(figure)
    yield "error_rates", figure


def _sparse(line: Sequence[System]) -> bool:
    return line[0].one.method != BASELINE


def _draw(axes: Axes, lines: Sequence[Sequence[System]], rate: str, protocols: set[str]) -> None:
    sparse = [line for line in lines if _sparse(line)]
    axes.set_xticks(sorted({system.one.sparsity for line in sparse for system in line}))
    rows = [line[0].one for line in lines]
    for line in lines:
        row, known = line[0].one, [system for system in line if system.values(rate)]
        label = label_of(row, protocols)
        if not known:
            continue
        if not _sparse(line):
            _band(axes, known[0], rate, label, look_of(row, rows))
            continue
        moved = _APART * (sparse.index(line) - (len(sparse) - 1) / 2)
        means = [system.mean(rate) or 0.0 for system in known]
        below = [mean - min(system.values(rate)) for mean, system in zip(means, known, strict=True)]
        above = [max(system.values(rate)) - mean for mean, system in zip(means, known, strict=True)]
        at = [system.one.sparsity + moved for system in known]
        axes.errorbar(at, means, [below, above], label=label, capsize=3, **look_of(row, rows))


def _band(axes: Axes, dense: System, rate: str, label: str, look: Mapping[str, Any]) -> None:
    """Draw dense from its best seed to its worst, and its mean."""
    axes.axhspan(min(dense.values(rate)), max(dense.values(rate)), color=look["color"], alpha=0.12, linewidth=0)
    axes.axhline(dense.mean(rate) or 0.0, color=look["color"], linestyle=look["linestyle"], linewidth=1, label=label)
