"""How much memory a training took at its peak, restarts included."""

import resource
import sys
from dataclasses import dataclass

import torch


@dataclass
class PeakMemory:
    """The largest figure of a run.

    Attributes:
        earlier: MB at the peak before the last restart.
    """

    earlier: float = 0.0

    def megabytes(self) -> float:
        """Return the peak so far in MB (10^6 bytes): allocated on the GPU, where one is used, or resident here."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            size = torch.cuda.max_memory_allocated()
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            size = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return max(self.earlier, size / 1e6)
