"""Randomness that a resumed run repeats.

fairseq draws SpecAugment-like mask spans from ``numpy.random.default_rng()`` without a seed, and layerdrop
from numpy's global state; neither is restored on resume. Inside :func:`derived` both come from given numbers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def derived(*numbers: int) -> Iterator[None]:
    """Make numpy's global state, and generators made without a seed, functions of ``numbers`` (each >= 0).

    Afterwards numpy is as it was. Generators that another thread makes meanwhile are left alone.
    """
    source = np.random.SeedSequence(numbers)
    state, original, thread = np.random.get_state(), np.random.default_rng, threading.get_ident()

    def default_rng(seed: Any = None) -> np.random.Generator:
        if seed is None and threading.get_ident() == thread:
            return original(source.spawn(1)[0])
        return original(seed)

    np.random.seed(source.generate_state(8))
    np.random.default_rng = default_rng
    try:
        yield
    finally:
        np.random.default_rng = original
        np.random.set_state(state)
