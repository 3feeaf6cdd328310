"""Audio is put into buckets of lengths under numpy 2.4 and later.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1. ``get_buckets`` calls ``numpy.percentile(interpolation=...)``, an
argument that numpy calls ``method`` since 1.22 and that 2.4 dropped: ``task.num_batch_buckets`` and ``--bf16`` of
``fairseq-generate`` end in a TypeError.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np


def install() -> None:
    """Wrap ``get_buckets`` wherever fairseq has imported it; where the original runs, its result stands."""
    from fairseq.data import data_utils

    original = data_utils.get_buckets
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def get_buckets(sizes: Any, num_buckets: int) -> Any:
        try:
            return original(sizes, num_buckets)
        except TypeError:
            return np.unique(np.percentile(sizes, np.linspace(0, 100, num_buckets + 1), method="lower")[1:])

    get_buckets.mended_by_parp = True  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if name.startswith("fairseq.") and vars(module).get("get_buckets") is original:
            vars(module)["get_buckets"] = get_buckets
