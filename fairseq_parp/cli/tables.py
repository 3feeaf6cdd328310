"""Counts of zeros as text."""

from __future__ import annotations

from collections.abc import Mapping

from fairseq_parp import tables
from fairseq_parp.mask_files.counts import Count


def line(count: Count) -> str:
    """Return a count in words."""
    return f"{count.zeros:,} zeros of {count.size:,} weights, sparsity {count.sparsity:.6f}"


def table(title: str, rows: Mapping[str, Count]) -> list[str]:
    """Return the lines of a table, ``title`` over the rows' names."""
    cells = [(name, f"{c.sparsity:.6f}", f"{c.zeros:,}", f"{c.size:,}") for name, c in rows.items()]
    return tables.table((title, "sparsity", "zeros", "weights"), cells)
