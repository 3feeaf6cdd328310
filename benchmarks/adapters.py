"""Rows: an update of adapters alone and the memory that it keeps, beside full finetuning by stock fairseq."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Bar, Job, Row, compare, compare_bytes, in_turn
from benchmarks.training import STOCK
from benchmarks.trainings import SECONDS, Training, write_inputs
from benchmarks.weights import BASE, Size

ADAPTERS = {"kind": "bottleneck"}
"""The published setting: all layers, width 256."""

_SPEED = Bar(1.2, faster=True)
_ROWS = ("adapters only, an update", "adapters only, gradients and optimizer state")


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; ``size`` replaces the model's in tests, which also takes a second of audio instead of ten."""
    yield Job(_ROWS, functools.partial(_adapters, size or BASE, 1 if size else SECONDS))


def _adapters(size: Size, seconds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, size)
        full, ours = Training(folder, None, seconds), Training(folder, None, seconds, ADAPTERS)
        full.update()
        times = in_turn(lambda: None, ours.update, full.update, [_SPEED])
    yield compare(_ROWS[0], _SPEED, STOCK, *times)
    yield compare_bytes(_ROWS[1], Bar(0.12), STOCK, [ours.trained_bytes()], [full.trained_bytes()])
