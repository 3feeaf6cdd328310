"""Row: what the plugin adds to the start of fairseq's commands."""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
from collections.abc import Iterator

from fairseq_parp.bench import rows
from fairseq_parp.bench.rows import Bar, Job, Row, compare
from fairseq_parp.bench.weights import Size
from fairseq_parp.environment.paths import PLUGIN

ALLOWED = 0.3
"""Seconds that importing the plugin may add."""

_NAME = "import of fairseq and the plugin"
_PROGRAM = f"""
import argparse, time
start = time.perf_counter()
import fairseq_cli.train
middle = time.perf_counter()
from fairseq import utils
utils.import_user_module(argparse.Namespace(user_dir={str(PLUGIN)!r}))
print(middle - start, time.perf_counter() - start)
"""


def jobs(_size: Size | None = None) -> Iterator[Job]:
    """Yield the job; the models' size does not matter."""
    yield Job([_NAME], functools.partial(_import, _NAME))


def _import(name: str) -> Iterator[Row]:
    """Import both in new processes, each of which tells when fairseq alone was there; the first one warms the disk."""
    found = [_seconds() for _ in range(rows.RUNS + 1)][1:]
    fairseq, both = ([times[which] for times in found] for which in (0, 1))
    bar = 1 + ALLOWED / statistics.median(fairseq)
    yield compare(name, Bar(round(bar, 3)), f"import of fairseq, and {ALLOWED} s", both, fairseq)


def _seconds() -> tuple[float, float]:
    words = [sys.executable, "-W", "ignore", "-c", _PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    alone, both = map(float, done.stdout.split()[-2:])
    return alone, both
