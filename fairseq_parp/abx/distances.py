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
Ends = NDArray[np.int64]

BLOCK = 256
"""Tokens whose angles to others are held at a time: a context may have thousands."""


def token_distances(
    rows: Sequence[NDArray[np.float32]], columns: Sequence[NDArray[np.float32]], block: int = BLOCK
) -> Floats:
    """Return the distances between two sets of tokens.

    The distance of two frames is the angle between them, as a fraction of half a turn. That of two tokens is the mean
    along the cheapest warping, whose steps advance by a frame in one token or in both; of equal steps the diagonal one.

    Args:
        rows: (frames, channels) each.
        columns: (frames, channels) each.
        block: rows whose angles are held at a time.

    Returns:
        (rows, columns).
    """
    found = np.zeros((len(rows), len(columns)))
    across, right = _directions(columns), _ends(columns)
    for start in range(0, len(rows), block):
        tokens = rows[start : start + block]
        angles = _directions(tokens) @ across.T
        np.arccos(np.clip(angles, -1, 1, out=angles), out=angles)
        angles /= np.pi
        _warp(angles, _ends(tokens), right, found[start : start + block])
    return found


def _warp(angles: Floats, down: Ends, right: Ends, found: Floats) -> None:
    """Write the distance of every two tokens; ``down`` and ``right`` are where the frames of each begin."""
    if (warp := library()) is not None:
        sizes = len(down) - 1, len(right) - 1
        warp(angles.ctypes.data, down.ctypes.data, sizes[0], right.ctypes.data, sizes[1], found.ctypes.data)
        return
    for one, other in np.ndindex(found.shape):
        found[one, other] = warped(angles[down[one] : down[one + 1], right[other] : right[other + 1]])


def _directions(tokens: Sequence[NDArray[np.float32]]) -> Floats:
    """Return the frames of all tokens, one after another, each of length 1."""
    frames = np.concatenate(tokens).astype(np.float64)
    frames /= np.maximum(np.linalg.norm(frames, axis=1, keepdims=True), 1e-8)
    return frames


def _ends(tokens: Sequence[NDArray[np.float32]]) -> Ends:
    return np.cumsum([0, *map(len, tokens)]).astype(np.int64)


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
    """Return the compiled function; None if it was not compiled."""
    library = native.load("abx.warping")
    if library is None:
        return None
    warp = library.parp_warp
    warp.restype = None
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    warp.argtypes = [pointer, pointer, count, pointer, count, pointer]
    return warp
