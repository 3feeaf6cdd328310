"""ABX errors over the layers as a picture."""

from __future__ import annotations

from pathlib import Path

from fairseq_parp.abx.measuring import Measured
from fairseq_parp.figures import blank, write


def draw(found: Measured, path: str | Path) -> None:
    """Draw the errors into the PNG file ``path``.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    figure = blank(5.5, 3.6)
    axes = figure.subplots()
    for kind, colour, marker in (("within", "#0072B2", "o"), ("across", "#D55E00", "^")):
        errors = [getattr(each, kind) for each in found.layers.values()]
        axes.plot(range(1, len(errors) + 1), errors, color=colour, marker=marker, label=f"{kind} speakers")
    axes.set(xlabel="layer", ylabel="ABX error, % (chance 50)", xticks=range(1, len(found.layers) + 1))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    write(figure, path)
