"""Masked language models read one text an example, and pairs of languages are bucketed, under numpy 2.

Concerns: fairseq-fixed 0.12.3.1 and main of 2025-09. ``sample_break_mode: eos`` and the buckets of ``translation`` read
``numpy.compat.long``, which numpy 2 dropped: an AttributeError. 0.12.2 reads it too, but needs an
older numpy.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


class _NumpyWithLong:
    """Replaces ``numpy`` inside fairseq's modules that read ``numpy.compat``."""

    compat = SimpleNamespace(long=int)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def install() -> None:
    """Give the two modules a numpy that has the name, where the installed one has not."""
    from fairseq.data import language_pair_dataset, token_block_dataset

    if not hasattr(np, "compat"):
        for module in (language_pair_dataset, token_block_dataset):
            module.np = _NumpyWithLong()
