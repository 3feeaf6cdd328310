"""How numba compiles a function. Only a module that is compiled imports this one: numba takes half a second."""

from __future__ import annotations

from typing import Any

import numba


def jit(function: Any) -> Any:
    """Compile at the first call, holding no lock of Python; without a cache where none can be written."""
    try:
        return numba.njit(function, nogil=True, cache=True)
    except RuntimeError:
        return numba.njit(function, nogil=True)
