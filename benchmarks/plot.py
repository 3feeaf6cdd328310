"""The picture of a benchmark: ours, the peer and the limit of every row on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first

from benchmarks.rows import Row

# Okabe and Ito's palette, which colour-blind readers can distinguish; markers differ too.
_OURS = {True: ("#0072B2", "o", "ours"), False: ("#D55E00", "X", "ours, over the limit"),
         None: ("#999999", "o", "ours, no bar, level with it, or pairs that disagree")}  # fmt: skip


def draw(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw ``rows``, each with the peer at 1, into the PNG file ``path``."""
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.3 * len(rows)), layout="constrained")
    places = range(len(rows))
    axes.plot([1] * len(rows), places, "D", color="black", markerfacecolor="white", linestyle="", label="the peer")
    axes.plot([r.limit for r in rows], places, "|", color="black", markersize=16, markeredgewidth=2, label="the limit")
    for holds, (colour, marker, label) in _OURS.items():
        chosen = [(row.relative, place) for place, row in enumerate(rows) if row.holds is holds]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), marker, color=colour, markersize=8, linestyle="", label=label)
    axes.set_yticks(places, [row.name for row in rows])
    axes.set(xscale="log", xlabel="times the peer (left of the limit is good)", ylim=(len(rows) - 0.4, -0.6))
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
