"""Real fairseq commands as the demo runs them: echoed, logged to a file, with a live progress bar."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from fairseq_parp.errors import MissingToolError, ParpError, absolute

_RECORD = re.compile(r"\[(train_inner|valid)\]\[INFO\] - (\{.*\})")
_POLL_SECONDS = 0.5 if sys.stderr.isatty() else 5  # a file that collects the output gets fewer lines


class CommandError(ParpError):
    """A command failed; the message has its last error line and its log."""

    def __init__(self, program: str, status: int, log: Path) -> None:
        reason = last_error(log.read_text(errors="replace"))
        super().__init__(f"{program} ended with status {status}: {reason} (log: {absolute(log)})")
        self.program, self.status, self.log = program, status, log


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        title: What the progress bar shows.
        words: Program and arguments; the program is looked for beside this Python first.
        log: Where its output goes.
        updates: How many training updates it makes; 0 if it does not train.
    """

    title: str
    words: Sequence[str]
    log: Path
    updates: int = 0

    def __str__(self) -> str:
        """Return the command as one would type it."""
        return shlex.join(self.words)


def run_together(commands: Sequence[Command]) -> None:
    """Run commands side by side, sharing the cores, until all have ended.

    Raises:
        CommandError: one failed; the others are stopped.
        MissingToolError: a program is not installed.
    """
    programs = [_find(command.words[0]) for command in commands]
    for command in commands:
        print(f"\n$ {command}\n  log: {command.log}", flush=True)
    threads = str(max(1, (os.cpu_count() or 1) // len(commands)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    with ExitStack() as stack:
        started = [
            stack.enter_context(_Running(command, program, environment, row))
            for row, (command, program) in enumerate(zip(commands, programs, strict=True))
        ]
        while sum(running.still() for running in started):  # not any(): every bar moves on
            time.sleep(_POLL_SECONDS)


def records(log: Path, kind: str) -> list[dict[str, float]]:
    """Return what fairseq logged as ``train_inner`` or ``valid``, numbers only."""
    found = (_RECORD.search(line) for line in log.read_text(errors="replace").splitlines())
    return [_numbers(match[2]) for match in found if match and match[1] == kind]


def last_error(text: str) -> str:
    """Return the line of a log that says best why it ended.

    >>> last_error("starting\\nValueError: too short\\n\\nSet the environment variable HYDRA_FULL_ERROR=1\\n")
    'ValueError: too short'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or ["no output"])[-1]


class _Running:
    """One started command and its bar."""

    def __init__(self, command: Command, program: str, environment: dict[str, str], row: int) -> None:
        self._command = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, *command.words[1:]], stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        self._log: BinaryIO = command.log.open("rb")
        self._bar = _bar(command, row)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._log.close()
        self._bar.close()

    def still(self) -> bool:
        """Move the bar to where the log is; return whether the command still runs."""
        status = self._process.poll()
        for line in self._log.read().decode(errors="replace").splitlines():
            if match := _RECORD.search(line):
                self._show(match[1], _numbers(match[2]))
        self._bar.refresh()
        if status:
            raise CommandError(self._command.words[0], status, self._command.log)
        return status is None

    def _show(self, kind: str, record: dict[str, float]) -> None:
        if kind == "train_inner":
            self._bar.n = int(record["num_updates"])
            self._bar.set_postfix_str(f"loss {record['loss']:.2f}", refresh=False)
        elif "valid_uer" in record:
            self._bar.set_description_str(f"{self._command.title} (valid UER {record['valid_uer']:.1f})", refresh=False)


def _bar(command: Command, row: int) -> tqdm[None]:
    """A bar that counts updates, or seconds where nothing can be counted."""
    if command.updates:
        return tqdm(total=command.updates, desc=command.title, unit=" updates", position=row)
    return tqdm(desc=command.title, bar_format="{desc}: {elapsed}", position=row)


def _numbers(record: str) -> dict[str, float]:
    numbers = {}
    for key, value in json.loads(record).items():
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError):
            continue
    return numbers


def _find(program: str) -> str:
    beside = str(Path(sys.executable).parent)
    found = shutil.which(program, path=beside + os.pathsep + os.environ.get("PATH", ""))
    if found is None:
        raise MissingToolError(f"{program} is not installed beside {sys.executable}; is fairseq there?")
    return found
