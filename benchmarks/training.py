"""Rows: the speed, memory and checkpoints of a training that prunes, beside stock fairseq's.

The two trainings of :mod:`benchmarks.trainings` take their updates in turn in one process; memory is measured
in processes of their own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from benchmarks import rows
from benchmarks.cost import Cost
from benchmarks.rows import Bar, Job, Row, compare, compare_bytes, in_turn
from benchmarks.trainings import SECONDS, UTTERANCES, Training, write_audio, write_inputs
from benchmarks.weights import BASE, Size
from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.memory import resident_peak
from fairseq_parp.sparsity.counting import zero_count

STOCK = "stock fairseq's audio_finetuning and wav2vec_ctc"
UPDATES_FOR_MEMORY = 2
_SPEED = ("training, re-prune at every update", "training, re-prune at every 50th")
_FAST = Bar(0.99, faster=True)
_WAITING = "training, waiting for data"
_MEMORY = "training, peak memory"
_SAVING = ("saving at a re-prune, time", "saving at a re-prune, bytes", "saving between re-prunes, time",
           "saving between re-prunes, bytes")  # fmt: skip


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; ``size`` replaces the model's in tests, which also takes a second of audio instead of ten."""
    chosen, seconds = size or BASE, 1 if size else SECONDS
    yield Job(_SPEED, functools.partial(_speed, chosen, seconds))
    yield Job([_WAITING], functools.partial(_waiting, chosen, seconds))
    yield Job([_MEMORY], functools.partial(_memory, chosen, seconds))
    yield Job(_SAVING, functools.partial(_saving, chosen, seconds))


def _speed(size: Size, seconds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), size)
        stock, ours = (Training(Path(folder), interval, seconds) for interval in (None, 1))
        stock.update()
        mine, others = in_turn(lambda: None, ours.update, stock.update, [_FAST])
    yield compare(_SPEED[0], _FAST, STOCK, mine, others)
    rarely = [Cost(*(o + (m - o) / 50 for m, o in zip(*pair, strict=True))) for pair in zip(mine, others, strict=True)]
    yield compare(_SPEED[1], _FAST, f"{STOCK}; computed from the row above", rarely, others)


def _waiting(size: Size, seconds: int) -> Iterator[Row]:
    """Wait for the batches of an epoch of files; the first one, for which the epoch is begun, is left out."""
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), size)
        write_audio(Path(folder), "train", [seconds] * UTTERANCES * (rows.RUNS[0] + 1))
        waited, worked = zip(*list(Training(Path(folder), 50, seconds).epoch())[1:], strict=True)
    threads = torch.get_num_threads()
    work = [Cost(cost.cpu / threads, cost.cpu) for cost in worked]  # other programs can only lengthen the waiting
    yield compare(
        _WAITING, Bar(0.01), f"CPU time of the work on the batch / {threads} threads", waited, work, by="wall"
    )


def _memory(size: Size, seconds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), size)
        mine, others = [], []
        for _ in range(rows.RUNS_OF_SLOWEST):
            others.append(_peak(folder, "stock", seconds))
            mine.append(_peak(folder, "pruned", seconds))
    yield compare_bytes(_MEMORY, Bar(1.03), STOCK, mine, others)


def _peak(folder: str, which: str, seconds: int) -> float:
    """Return the peak memory of a process that trains a few updates, in bytes."""
    program = f"from benchmarks.training import print_peak; print_peak({folder!r}, {which!r}, {seconds})"
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=PLUGIN.parent, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(folder: str, which: str, seconds: int) -> None:
    """Train a few updates, ``stock`` or ``pruned`` at every one, and print this process's peak memory in bytes."""
    training = Training(Path(folder), None if which == "stock" else 1, seconds)
    for _ in range(UPDATES_FOR_MEMORY):
        training.update()
    print(resident_peak())


def _touch_memory(checkpoint: Path) -> None:
    """Write a file twice as large and remove it: a host may have taken back the memory that a save is about to use."""
    path, part = checkpoint.with_suffix(".touched"), bytes(1 << 20)
    with path.open("wb") as file:
        for _ in range(2 * checkpoint.stat().st_size // len(part)):
            file.write(part)
    path.unlink()


def _saving(size: Size, seconds: int) -> Iterator[Row]:
    """Save after an update with a re-prune, and, with zeros regrown, after one without."""
    for names, interval in ((_SAVING[:2], 1), (_SAVING[2:], 1000)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_inputs(folder, size)
            stock, ours = (Training(folder, each, seconds) for each in (None, interval))
            for training in (stock, ours):
                training.update()
            saved, others_saved = (folder / f"{name}.pt" for name in ("ours", "stock"))
            save, peer = functools.partial(ours.save, saved), functools.partial(stock.save, others_saved)
            peer()  # as ours does to warm up: each save that is timed takes an earlier one's place

            def prepare(training: Training = ours, checkpoint: Path = others_saved) -> None:
                training.go_on()
                os.sync()  # neither waits for the other's unwritten data
                _touch_memory(checkpoint)

            save()
            mine, others = saved.stat().st_size, others_saved.stat().st_size
            more = 0 if interval == 1 or ours.session is None else 4 * zero_count(0.5, ours.session.size) / others
            bar = Bar(round(1.05 + more, 3))
            times = in_turn(prepare, save, peer, [bar], by="wall")
        row = compare(names[0], bar, STOCK, *times, by="wall")  # the disk is waited for
        if row.holds is False:
            waits = [1000 * median(cost.wall - cost.cpu for cost in side) for side in times]
            why = "{:.0f} ms are waiting until the disk has the file (fsync); stock, without fsync, waits {:.0f} ms"
            row = replace(row, why=why.format(*waits))
        yield row
        bar = Bar(round((1.05 if interval == 1 else 1.02) + more, 3))
        yield compare_bytes(names[1], bar, STOCK, [mine], [others])
