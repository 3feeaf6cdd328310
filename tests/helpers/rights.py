"""Permissions of files hold for root, too: tests often run as root in a container."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

VERSION = 0x20080522
"""Of the kernel's interface of capabilities, with two words a set (``linux/capability.h``)."""
IGNORES_PERMISSIONS = 1 << 1 | 1 << 2
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@contextlib.contextmanager
def as_any_user() -> Iterator[None]:
    """Give up what lets root read and write files without rights, in this thread; take it again at the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    after = (ctypes.c_uint32 * 6)()
    for sets in (before, after):
        assert libc.capget(header, sets) == 0
    after[0] &= ~IGNORES_PERMISSIONS
    assert libc.capset(header, after) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
