"""Row: a re-prune on a GPU, if there is one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch

from benchmarks.reprune import Stage
from benchmarks.rows import Bar, Job, Row, compare, in_turn, unmeasured
from benchmarks.weights import BASE, Size, fresh

BAR = Bar(6.0)
FLAT_COPY = "one flat copy of as many weights on the device"
_NAME = "re-prune on a GPU"


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; ``size`` replaces the model's in tests."""
    yield Job([_NAME], functools.partial(_row, size or BASE))


def _row(size: Size) -> Iterator[Row]:
    if torch.cuda.is_available():
        yield on("cuda", size, torch.cuda.synchronize)
    else:
        yield unmeasured(_NAME, BAR, FLAT_COPY, "no GPU is here", by="wall")


def on(device: str, size: Size, wait: Callable[[], object]) -> Row:
    """Measure on a device; ``wait`` returns when the work given to it is done."""
    stage = Stage({name: weight.to(device) for name, weight in fresh(size).items()})
    flat = torch.cat([weight.view(-1) for weight in stage.weights.values()])
    copy = torch.empty_like(flat)

    def finished(work: Callable[[], object]) -> Callable[[], None]:
        def both() -> None:
            work()
            wait()

        return both

    times = in_turn(finished(stage.restore), finished(stage.reprune), finished(lambda: copy.copy_(flat)), [BAR], "wall")
    return compare(_NAME, BAR, FLAT_COPY, *times, by="wall")  # the GPU's work takes no CPU time
