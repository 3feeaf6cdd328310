"""How much memory a training takes."""

import resource
import sys

import torch


def peak_megabytes() -> float:
    """Return this process's peak so far in MB (10^6 bytes): allocated on the GPU where one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
