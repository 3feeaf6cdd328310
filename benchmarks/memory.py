"""The transient memory of a computation."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

from fairseq_parp.errors import MissingToolError
from fairseq_parp.memory import resident, resident_peak


def transient_bytes(work: Callable[[], object]) -> int:
    """Return the difference between the process's peak memory and its memory before, in bytes.

    Freed memory that the C library keeps is first returned to the system, so that reusing it is counted.

    Raises:
        MissingToolError: this is not Linux with glibc, whose counters are read.
    """
    if not sys.platform.startswith("linux"):
        raise MissingToolError("transient memory is measured on Linux only; choose other rows with --only")
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident()
    work()
    return resident_peak() - before
