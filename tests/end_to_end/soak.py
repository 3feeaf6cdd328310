"""A long real training, watched from outside: its memory, its open file handles, the zeros of its checkpoints.

    python tests/end_to_end/soak.py --minutes 120 --out outputs/soak

A tiny model is re-pruned at every update and saved at every 50th, with dropout, layerdrop, mask spans and a worker
process. Every ten seconds a row goes into soak.csv; soak.png shows it. Exit status 1: something grew or was not exact.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import tiny  # noqa: E402

from fairseq_parp.errors import CheckpointError  # noqa: E402
from fairseq_parp.mask_files.report import report  # noqa: E402
from fairseq_parp.sparsity.counting import zero_count  # noqa: E402

SPARSITY = 0.5
SAVE_EVERY = 50
MAX_GROWTH = 5.0
"""MB an hour over the second half of a long run that count as flat."""

MORE_HANDLES = 10
"""A worker process that starts or ends while one looks has so many; a leak passes this in half an hour."""


@dataclass(frozen=True)
class Sample:
    """What was seen at one moment; memory is resident, in MB of a million bytes."""

    seconds: float
    updates: int
    trainer_mb: float
    workers: int
    workers_mb: float
    handles: int
    saved_update: int
    saved_zeros: int
    prunable: int


def arguments(folder: Path, minutes: float) -> list[str]:
    """Return the training's command line; it ends by itself after so many minutes."""
    data = tiny.make_corpus(folder / "data", {"train": 200, "valid": 10})
    never = 1_000_000_000
    return tiny.training(
        folder / "run", data, tiny.make_pretrained(folder / "pretrained.pt"),
        f"optimization.stop_time_hours={minutes / 60}", f"optimization.max_update={never}",
        "lr_scheduler.phase_ratio=[0.0,0.5,0.5]", "task.pruning.interval=1", f"task.pruning.sparsity={SPARSITY}",
        f"checkpoint.save_interval_updates={SAVE_EVERY}", "checkpoint.keep_interval_updates=1",
        f"checkpoint.save_interval={never}", f"dataset.validate_interval={never}", "common.log_interval=10",
    )  # fmt: skip


def watch(folder: Path, minutes: float, every: float) -> tuple[int, list[Sample]]:
    """Run the training to its end; return its exit status and the samples."""
    command = [sys.executable, "-m", "fairseq_cli.hydra_train", *arguments(folder, minutes)]
    log = folder / "log"
    samples: list[Sample] = []
    with log.open("w") as out, (folder / "soak.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, [field.name for field in fields(Sample)])
        writer.writeheader()
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=tiny.environment())
        while process.poll() is None:
            time.sleep(every)
            sample = look(process.pid, log, folder, time.monotonic() - start)
            if sample is not None:
                samples.append(sample)
                writer.writerow(asdict(sample))
                table.flush()
    return process.returncode, samples


def look(process: int, log: Path, folder: Path, seconds: float) -> Sample | None:
    """Take one sample; None before the first checkpoint and after the end."""
    found = newest_checkpoint(folder)
    if found is None:
        return None
    try:
        workers = [resident(child) for child in children(process)]
        handles = len(list(Path(f"/proc/{process}/fd").iterdir()))
        memory = resident(process)
    except OSError:
        return None
    if not memory:
        return None
    return Sample(round(seconds, 1), updates_in(log), memory, len(workers), round(sum(workers), 1), handles, *found)


def newest_checkpoint(folder: Path) -> tuple[int, int, int] | None:
    """Return update, zeros and prunable weights of the newest checkpoint; it may be deleted while one looks."""
    for path in (folder / "run").glob("checkpoint_*_*.pt"):
        copy = folder / "looked_at.pt"
        try:
            shutil.copyfile(path, copy)
        except FileNotFoundError:
            continue
        counted = report(copy)
        return int(path.stem.split("_")[-1]), counted.prunable.zeros, counted.prunable.size
    return None


def children(process: int) -> Iterator[int]:
    """Yield the ids of a process's children."""
    for task in Path(f"/proc/{process}/task").iterdir():
        yield from (int(child) for child in (task / "children").read_text().split())


def resident(process: int) -> float:
    """Return a process's resident memory in MB; 0 where it has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return round(int(found[1]) * 1024 / 1e6, 1) if found else 0.0


def updates_in(log: Path) -> int:
    """Return the last update that the log tells of."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        found = re.findall(rb'"num_updates": "(\d+)"', file.read())
    return int(found[-1]) if found else 0


def logged_zeros(log: Path) -> set[float]:
    """Return the fractions of zeros after the re-prunes, as the training log tells them."""
    lines = [line for line in log.read_text().splitlines() if "[train_inner][INFO] - " in line]
    return {float(json.loads(line.split("[INFO] - ")[1])["zeros"]) for line in lines}


def growth(samples: Sequence[Sample]) -> float:
    """Return the least-squares slope of the trainer's memory over the second half, in MB an hour."""
    half = samples[len(samples) // 2 :]
    hours = np.array([sample.seconds / 3600 for sample in half])
    return float(np.polyfit(hours, [sample.trainer_mb for sample in half], 1)[0])


def summary(samples: Sequence[Sample], log: Path) -> tuple[str, list[str]]:
    """Return what was found, in words, and what is wrong about it."""
    half = len(samples) // 2
    slope = growth(samples)
    handles = [max(sample.handles for sample in part) for part in (samples[:half], samples[half:])]
    checked = {sample.saved_update: sample for sample in samples}
    inexact = [u for u, s in checked.items() if s.saved_zeros != zero_count(SPARSITY, s.prunable)]
    zeros = logged_zeros(log)
    memory = [sample.trainer_mb for sample in samples[half:]]
    last = samples[-1]
    words = (
        f"{last.seconds / 60:.1f} minutes, {last.updates:,} updates, {last.updates // SAVE_EVERY:,} checkpoints\n"
        f"memory over the second half: {min(memory):.1f} to {max(memory):.1f} MB, slope {slope:+.2f} MB an hour\n"
        f"open file handles: at most {handles[0]} in the first half, {handles[1]} in the second\n"
        f"zeros: {len(checked)} checkpoints counted, {len(inexact)} not exact; in the log always {zeros}"
    )
    wrong = [f"checkpoint of update {update} is not exact" for update in inexact]
    long = last.seconds > 1800  # before, the halves hold too few of the epochs and checkpoints that come and go
    if long and handles[1] > handles[0] + MORE_HANDLES:
        wrong.append(f"file handles grew from {handles[0]} to {handles[1]}")
    if zeros != {SPARSITY}:
        wrong.append(f"fractions of zeros after re-prunes: {zeros}")
    if long and slope > MAX_GROWTH:
        wrong.append(f"memory grew by {slope:.2f} MB an hour")
    return words, wrong


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draw memory, handles and the deviation from k zeros over time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    minutes = [sample.seconds / 60 for sample in samples]
    figure, (memory, handles, zeros) = plt.subplots(3, 1, figsize=(9, 8), sharex=True, layout="constrained")
    figure.suptitle("A re-prune at every update, a checkpoint at every 50th: one training process")
    memory.plot(minutes, [sample.trainer_mb for sample in samples], color="#0072B2", label="training process")
    memory.plot(minutes, [s.workers_mb for s in samples], color="#D55E00", linestyle="--", label="its workers")
    memory.set(ylabel="resident memory, MB", ylim=(0, None))
    memory.legend(loc="lower right")
    handles.plot(minutes, [sample.handles for sample in samples], color="#0072B2")
    handles.set(ylabel="open file handles", ylim=(0, None))
    off = [sample.saved_zeros - zero_count(SPARSITY, sample.prunable) for sample in samples]
    zeros.plot(minutes, off, color="#0072B2", marker=".", linestyle="none")
    zeros.set(ylabel="zeros in the newest checkpoint,\nminus k", xlabel="minutes", ylim=(-5, 5))
    for axes in (memory, handles, zeros):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Run the soak that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(description="Watch a long training for growth and drift.")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=10, help="seconds between two samples")
    parser.add_argument("--out", type=Path, default=Path("outputs/soak"))
    options = parser.parse_args()
    folder: Path = options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.INFO)  # fairseq's import turns it on for every library
    status, samples = watch(folder, options.minutes, options.every)
    if status or len(samples) < 4:
        print(f"the training ended with status {status} after {len(samples)} samples; see {folder / 'log'}")
        return 1
    words, wrong = summary(samples, folder / "log")
    draw(samples, folder / "soak.png")
    print("\n".join([words, *(f"WRONG: {line}" for line in wrong)]))
    return bool(wrong)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CheckpointError as error:
        sys.exit(str(error))
