"""The cost of a computation: wall-clock time and CPU time."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from fairseq_parp.errors import MissingToolError

Clock = Literal["cpu", "wall"]

ENOUGH, MAX_RUNS = 0.5, 10
"""CPU seconds of runs whose median is one measurement, and how many runs at most."""

_TASKS = Path("/proc/self/task")


class Cost(NamedTuple):
    """Seconds on both clocks."""

    wall: float
    cpu: float


def measured(action: Callable[[], object]) -> Cost:
    """Return the cost of ``action``.

    Raises:
        MissingToolError: the system is not Linux; see :func:`cpu_seconds`.
    """
    wall, cpu = time.perf_counter(), cpu_seconds()
    action()
    return Cost(time.perf_counter() - wall, cpu_seconds() - cpu)


def typical(prepare: Callable[[], object], action: Callable[[], object]) -> Cost:
    """Return the median cost of as many runs of ``action`` as take ``ENOUGH`` CPU seconds, ``MAX_RUNS`` at most.

    ``prepare`` runs unmeasured before each.
    """
    costs: list[Cost] = []
    while len(costs) < MAX_RUNS and sum(cost.cpu for cost in costs) < ENOUGH:
        prepare()
        costs.append(measured(action))
    wall, cpu = map(statistics.median, zip(*costs, strict=True))
    return Cost(wall, cpu)


def cpu_seconds() -> float:
    """Return the CPU seconds used so far by all threads of this process and by all its child processes.

    Child processes count while they run and after they have ended. Their own child processes count likewise.

    Raises:
        MissingToolError: the system is not Linux, whose /proc lists the child processes.
    """
    if not _TASKS.is_dir():
        raise MissingToolError("CPU time of child processes can be read on Linux only")
    while True:
        before = _of_ended()
        try:
            running = sum(map(_cpu_seconds_of, _children(_TASKS)))
        except (OSError, ValueError):  # a thread or a child process ended in the middle
            continue
        if _of_ended() == before:
            return time.process_time() + before + running


def _of_ended() -> float:
    """Return the CPU seconds of the child processes that have ended and were waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _children(tasks: Path) -> Iterator[int]:
    """Yield the processes that the threads in ``tasks`` (/proc/PID/task) have started and not waited for yet."""
    for file in tasks.glob("*/children"):
        yield from map(int, file.read_text().split())


def _cpu_seconds_of(process: int) -> float:
    own = time.clock_gettime(~process << 3 | 2)  # Linux's number of a process's CPU clock: clock_getcpuclockid(3)
    return own + sum(map(_cpu_seconds_of, _children(Path(f"/proc/{process}/task"))))
