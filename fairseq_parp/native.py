"""The parts in C++, which ``setup.py`` compiles if it finds a compiler. Otherwise numpy and torch compute the same."""

from __future__ import annotations

import ctypes
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

PARTS = ("sparsity.kernels.passes", "sparsity.kernels.expansion", "decoding.prefix_search", "abx.warping")
"""Each is a file of that name, ending in .cpp; its library comes to lie beside it."""


def load(part: str) -> ctypes.CDLL | None:
    """Return a part's library; None if it was not compiled, not for this machine, or from another source.

    ``setup.py`` puts the source's checksum into the library, for a checkout that was updated and not compiled again.
    Calls into the library let other threads run.
    """
    stem = Path(__file__).parent.joinpath(*part.split("."))
    source = stem.with_suffix(".cpp")
    found = next(filter(Path.is_file, (stem.with_suffix(suffix) for suffix in EXTENSION_SUFFIXES)), None)
    if found is None:
        return None
    try:
        library = ctypes.CDLL(str(found))
        library.parp_source.restype = ctypes.c_uint32
        if source.is_file() and library.parp_source() != zlib.crc32(source.read_bytes()):
            return None
    except (OSError, AttributeError):  # damaged, or for another processor
        return None
    return library
