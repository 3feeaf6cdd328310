"""The style of pictures: a method has the same colour and marker in all of them; panels share one legend below."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from fairseq_parp.experiments.procedures import facts_of, known
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.figures import blank
from fairseq_parp.sparsity.methods import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, as are the methods' own colours: colour-blind readers can distinguish them; markers differ.
_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7")
_MARKERS = "osD^vXP*<>"
_DASHES = ("-", "--", ":", "-.")


def label_of(row: ResultRow, protocols: Collection[str]) -> str:
    """Return the label of a method's line: its variant and, where there are several, its protocol named."""
    method = f"{row.method}, {row.variant}" if row.variant else row.method
    return f"{method} ({row.protocol})" if len(protocols) > 1 else method


def look_of(row: ResultRow, rows: Iterable[ResultRow]) -> dict[str, Any]:
    """Return the look of a row's line among those of ``rows``: its method's, with dashes and marker for a variant.

    Where there are more variants than kinds of dashes, they have colours of their own.
    """
    look = of_method(row.method, row.protocol)
    if not row.variant:
        return look
    variants = sorted({each.variant for each in rows if each.variant})
    number = variants.index(row.variant)
    if len(variants) >= len(_DASHES):
        return of_number(number)
    return look | {"linestyle": _DASHES[1 + number], "marker": _MARKERS[-1 - number]}


def of_method(method: str, protocol: str = "matched") -> dict[str, Any]:
    """Return the look of a method's line; the paper's protocol is dashed."""
    facts = facts_of(method) if method in known() else Facts(method)
    return {"color": facts.colour, "marker": facts.marker, "linestyle": "--" if protocol == "paper" else "-"}


def of_number(number: int) -> dict[str, Any]:
    """Return the look of a line among lines of the same method: differs from those of all numbers below 30."""
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": dash,
    }


def panels(
    count: int, columns: int, width: float = 4.6, height: float = 3.4, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Return a picture with ``count`` panels, in rows of ``columns``; ``shared`` goes to ``Figure.subplots``."""
    columns = min(count, columns)
    lines = math.ceil(count / columns)
    figure = blank(width * columns + 0.4, height * lines + 1.0)
    every = list(figure.subplots(lines, columns, squeeze=False, **shared).flat)
    for empty in every[count:]:
        empty.remove()
    return figure, every[:count]


def legend_below(figure: Figure, columns: int = 4) -> None:
    """Put one legend for all panels below them, in fewer than the requested columns if the picture is narrow."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    inches = 0.7 + 0.075 * max(map(len, handles), default=0)  # of a column: line, marker, letters of 9 points
    columns = max(1, min(columns, int(figure.get_figwidth() / inches)))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=9)


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Give a panel its title, labels and grid."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
