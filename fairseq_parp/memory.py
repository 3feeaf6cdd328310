"""The memory that this process takes."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_megabytes() -> float:
    """Return the peak so far in MB (10^6 bytes): allocated on the GPU where one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    return resident_peak() / 1e6


def resident_peak() -> int:
    """Return the resident memory's peak so far in bytes.

    On Linux it is not taken from getrusage, whose peak is never below that of the process which started this one.
    """
    if _STATUS.is_file():
        return resident("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident(field: str = "VmRSS") -> int:
    """Return a count of the resident memory, in bytes, that Linux keeps (proc(5)): VmRSS is now, VmHWM the peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return 1024 * int(found.group(1)) if found else 0
