"""Row: the time of fairseq-generate's greedy decoding beside the model's own work."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import rows
from benchmarks.cost import Cost
from benchmarks.rows import Bar, Job, Row, compare
from benchmarks.trainings import Training, write_audio, write_inputs
from benchmarks.weights import BASE, Size
from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.plugin import load_plugin

UTTERANCES, SHORTEST, LONGEST = 64, 0.7, 6.0
"""The test set's size, and seconds of audio of an utterance: those of AN4's."""

_NAME = "fairseq-generate, greedy, all but forward and reading"


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; ``size`` replaces the model's in tests, which also decodes fewer utterances."""
    yield Job([_NAME], functools.partial(_shares, size or BASE, 8 if size else UTTERANCES))


def _shares(size: Size, utterances: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, size)
        write_audio(folder, "test", np.linspace(SHORTEST, LONGEST, utterances).tolist())
        Training(folder, 1, 1).save(folder / "finetuned.pt")
        found = [_costs(folder) for _ in range(rows.RUNS_OF_SLOWEST)]
    rest, forward = zip(*found, strict=True)
    yield compare(_NAME, Bar(0.1), "the model's forward", rest, forward)


def _costs(folder: Path) -> tuple[Cost, Cost]:
    program = f"from benchmarks.generation import print_costs; print_costs({str(folder)!r})"
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=PLUGIN.parent, capture_output=True, text=True, check=True)
    rest_wall, rest_cpu, forward_wall, forward_cpu = map(float, done.stdout.split()[-4:])
    return Cost(rest_wall, rest_cpu), Cost(forward_wall, forward_cpu)


def print_costs(folder: str) -> None:
    """Run fairseq-generate and print two costs: of all but reading and forward from the first batch on; of the forward.

    Audio is read in the same thread, or its cost could not be separated from the others'.
    """
    load_plugin()
    from fairseq import options
    from fairseq.data.audio.raw_audio_dataset import FileAudioDataset, RawAudioDataset
    from fairseq_cli import generate

    from fairseq_parp.models.parp_wav2vec_ctc import ParpWav2VecCtc

    reading, forward = _Meter(), _Meter()
    reading.watch(FileAudioDataset, "__getitem__")
    reading.watch(RawAudioDataset, "collater")
    forward.watch(ParpWav2VecCtc, "forward")
    command = [folder, "--task", "parp_finetuning", "--labels", "ltr", "--path", f"{folder}/finetuned.pt", "--cpu",
             "--gen-subset", "test", "--beam", "1", "--batch-size", "8", "--post-process", "letter", "--scoring", "wer",
             "--num-workers", "0", "--data-buffer-size", "0", "--results-path", folder,
             "--user-dir", str(PLUGIN)]  # fmt: skip
    generate.main(options.parse_args_and_arch(options.get_generation_parser(), input_args=command))
    rest = _now() - reading.first - reading.total - forward.total
    print(*rest, *forward.total)


def _now() -> NDArray[np.float64]:
    """Return the wall clock and the CPU time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


class _Meter:
    """Adds up the costs of functions, calls inside them included; ``first`` is the time when the first one began."""

    def __init__(self) -> None:
        self.total, self.first = np.zeros(2), np.full(2, np.nan)

    def watch(self, owner: Any, name: str) -> None:
        """Replace a function by one that is measured."""
        plain: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(plain)
        def metered(*args: Any, **options: Any) -> Any:
            start = _now()
            self.first = np.where(np.isnan(self.first), start, self.first)
            try:
                return plain(*args, **options)
            finally:
                self.total += _now() - start

        setattr(owner, name, metered)
