"""Tables for people: aligned columns with bold heads on a terminal, plain text anywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDEST = 100_000
"""Columns of the page, so that no cell is ever cut or folded."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Return the lines of a table without frame: two spaces between columns, none at the end of a line.

    Only a terminal gets escape codes, and none where ``NO_COLOR`` is set. A file or a pipe gets plain text.

    Args:
        heads: heads of the columns.
        rows: cells, taken literally.
        left: numbers of the columns that are aligned left; all others are aligned right.
    """
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    page = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, head in enumerate(heads):
        page.add_column(Text(head), justify="left" if number in left else "right", no_wrap=True)
    for row in rows:
        page.add_row(*map(Text, row))
    console = Console(width=_WIDEST, force_terminal=not plain, color_system=None if plain else "standard")
    with console.capture() as shown:
        console.print(page)
    return [line.rstrip() for line in shown.get().splitlines()]
