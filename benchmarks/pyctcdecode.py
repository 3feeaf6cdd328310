"""pyctcdecode as a peer. It needs numpy below 2, so it lives in an environment, and works in a process, of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fairseq_parp.environment.install import clean_environment
from fairseq_parp.errors import MissingToolError

NEEDS = ("pyctcdecode", "numpy<2")
NEEDS_FOR_LM = ("kenlm",)
"""Built from source: a C++ compiler must be there."""

_WORKER = Path(__file__).with_name("pyctcdecode_worker.py")


@dataclass(frozen=True)
class Peer:
    """pyctcdecode with emissions that it has read; ``decode`` decodes all of them once more and returns the texts."""

    version: str
    decode: Callable[[], list[str]]


@contextmanager
def pyctcdecode(
    log_probs: Sequence[NDArray[np.float32]], alphabet: Sequence[str], beam: int, **language_model: object
) -> Iterator[Peer]:
    """Start the process, and end it after the block.

    Args:
        log_probs: log-probabilities (T, C) of each utterance.
        alphabet: text of each symbol; that of the blank is empty.
        beam: hypotheses kept after each frame.
        language_model: arguments of pyctcdecode's ``build_ctcdecoder`` for a language model.

    Raises:
        MissingToolError: the environment cannot be made, or the process ends by itself.
    """
    python = environment(NEEDS)
    if language_model:
        environment(NEEDS_FOR_LM)
    options = {"labels": alphabet, **language_model}
    with tempfile.TemporaryDirectory() as place:
        emissions, asked, trouble = (Path(place) / name for name in ("emissions.npz", "options.json", "stderr.txt"))
        np.savez(emissions, *log_probs)
        asked.write_text(json.dumps(options))
        command = [*map(str, (python, "-I", _WORKER, emissions, beam, asked))]
        with (
            trouble.open("w") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):

            def answer() -> str:
                line = process.stdout.readline() if process.stdout else ""
                if not line:
                    raise MissingToolError(f"pyctcdecode's process has ended: {_last_line(trouble.read_text())}")
                return line

            def decode() -> list[str]:
                if process.stdin:
                    process.stdin.write("\n")
                    process.stdin.flush()
                return list(json.loads(answer()))

            yield Peer(answer().strip(), decode)


def environment(needs: Sequence[str]) -> Path:
    """Return the Python of the peer's environment in the user's cache folder; make the environment at the first call.

    Raises:
        MissingToolError: the environment cannot be made, for example without a network.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fairseq-parp" / "pyctcdecode"
    python, ready = folder / "bin" / "python", folder / f".ready-{needs[0]}"
    if not ready.is_file():
        what = f"{' and '.join(needs)} cannot be installed into {folder}"
        tqdm.write(f"{' and '.join(needs)} are installed into an environment of their own: {folder}")
        if needs is NEEDS:
            _run([sys.executable, "-m", "venv", "--clear", str(folder)], what)
        _run([str(python), "-m", "pip", "install", "--retries", "1", "--timeout", "20", *needs], what)
        ready.touch()
    return python


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingToolError(f"{what}: {_last_line(done.stderr or done.stdout)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it gave no reason"])[-1]
