"""Pictures: an empty one to draw into, and writing it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.errors import MissingToolError
from fairseq_parp.files import writing_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib() -> None:
    """Import matplotlib.

    Raises:
        MissingToolError: it is not installed.
    """
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it logs its search for fonts where fairseq logs
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingToolError(f"pictures need matplotlib: pip install matplotlib ({error})") from None


def blank(width: float, height: float) -> Figure:
    """Return an empty picture of this size in inches.

    Raises:
        MissingToolError: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write(figure: Figure, path: str | Path) -> None:
    """Write a picture as PNG, whole or not at all. A dollar in a label is one, and begins no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if "$" in text.get_text():
            text.set_parse_math(False)
    with writing_whole(path) as file:
        figure.savefig(file, format="png", dpi=130)
