"""Row: the time that the plugin adds to the start of fairseq's commands."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import rows
from benchmarks.cost import Cost
from benchmarks.rows import Bar, Job, Row, compare
from benchmarks.weights import Size
from fairseq_parp.environment.paths import PLUGIN

ALLOWED = 0.3
"""CPU seconds that importing the plugin may add."""

_NAME = "import of fairseq and the plugin"
_PROGRAM = f"""
import argparse, time
def now(): return time.perf_counter(), time.process_time()
start = now()
import fairseq_cli.train
middle = now()
from fairseq import utils
utils.import_user_module(argparse.Namespace(user_dir={str(PLUGIN)!r}))
print(*(b - a for end in (middle, now()) for a, b in zip(start, end)))
"""


def jobs(_size: Size | None = None) -> Iterator[Job]:
    """Yield the job; the models' size does not matter."""
    yield Job([_NAME], functools.partial(_import, _NAME))


def _import(name: str) -> Iterator[Row]:
    """Import both in new processes that print when fairseq alone was there; the first warms disk and bytecode."""
    fairseq, both = zip(*[_costs() for _ in range(rows.RUNS[0] + 1)][1:], strict=True)
    bar = 1 + ALLOWED / statistics.median(cost.cpu for cost in fairseq)
    yield compare(name, Bar(round(bar, 3)), f"import of fairseq, and {ALLOWED} s", both, fairseq)


def _costs() -> tuple[Cost, Cost]:
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM]
    cached = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=cached, capture_output=True, text=True, check=True)
    wall_alone, cpu_alone, wall_both, cpu_both = map(float, done.stdout.split()[-4:])
    return Cost(wall_alone, cpu_alone), Cost(wall_both, cpu_both)
