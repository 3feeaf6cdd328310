"""Counts of zeros as text."""

from __future__ import annotations

from collections.abc import Mapping

from fairseq_parp.mask_files.report import Count


def line(count: Count) -> str:
    """Return a count in words."""
    return f"{count.zeros:,} zeros of {count.size:,} weights, sparsity {count.sparsity:.6f}"


def table(title: str, rows: Mapping[str, Count]) -> list[str]:
    """Return the lines of a table, ``title`` over the rows' names."""
    width = max(len(title), *(len(name) for name in rows))
    lines = [f"{title:{width}}  sparsity        zeros      weights"]
    return lines + [f"{name:{width}}  {c.sparsity:8.6f} {c.zeros:12,} {c.size:12,}" for name, c in rows.items()]
