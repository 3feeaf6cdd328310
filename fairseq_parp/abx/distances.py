"""Distances between tokens: angles between frames, along the cheapest warping in time."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairseq_parp import native

Floats = NDArray[np.float64]


def token_distances(tokens: Sequence[NDArray[np.float32]]) -> Floats:
    """Return the distance of every two tokens.

    The distance of two frames is the angle between them, as a fraction of half a turn. That of two tokens is the mean
    along the cheapest warping, which goes on by a frame in either token or in both; of equal ways the diagonal one.

    Args:
        tokens: (frames, channels) each.

    Returns:
        (tokens, tokens), symmetric, its diagonal 0.
    """
    ends = np.cumsum([0, *map(len, tokens)]).astype(np.int64)
    frames = np.concatenate(tokens).astype(np.float64)
    frames /= np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-8)
    angles = np.arccos(np.clip(frames @ frames.T, -1, 1)) / np.pi
    found = np.zeros((len(tokens), len(tokens)))
    if (warp := library()) is not None:
        warp(angles.ctypes.data, ends[-1], ends.ctypes.data, len(tokens), found.ctypes.data)
        return found
    for one in range(len(tokens)):
        for other in range(one + 1, len(tokens)):
            block = angles[ends[one] : ends[one + 1], ends[other] : ends[other + 1]]
            found[one, other] = found[other, one] = warped(block)
    return found


def warped(costs: Floats) -> float:
    """Return the mean cost along the cheapest way through ``costs`` (frames of one, frames of the other)."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    steps = np.zeros((rows + 1, columns + 1))
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            ways = (total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            best = min(range(3), key=ways.__getitem__)  # the first of equal ones
            total[i, j] = ways[best] + costs[i - 1, j - 1]
            steps[i, j] = 1 + (steps[i - 1, j - 1], steps[i - 1, j], steps[i, j - 1])[best]
    return float(total[rows, columns] / steps[rows, columns])


@functools.cache
def library() -> Any:
    """Return the compiled function; None where it was not compiled."""
    library = native.load("abx.warping")
    if library is None:
        return None
    warp = library.parp_warp
    warp.restype = None
    warp.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    return warp
