"""Real fairseq commands: several at once in the order of their needs, logged to files, with live progress bars."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from fairseq_parp.commands.signals import signals_wait
from fairseq_parp.errors import MissingToolError, ParpError, absolute

_RECORD = re.compile(r"\[(train_inner|valid)\]\[INFO\] - (\{.*\})")
_POLL_SECONDS = 0.5
_SHOW_SECONDS = 0.5 if sys.stderr.isatty() else 30  # a file that collects the output gets fewer lines


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
        title: text of the progress bar; different for each command of a run.
        argv: program and arguments; the program is first searched beside this Python.
        log: file for the output.
        updates: number of training updates; 0 if the command does not train.
        needs: Titles of the commands that must have ended before this one can start.
        stops: Whether it is stopped after so many updates, which is a good end. It has to log every update as JSON.
    """

    title: str
    argv: Sequence[str]
    log: Path
    updates: int = 0
    needs: Collection[str] = ()
    stops: bool = False

    def __str__(self) -> str:
        """Return the command as one would type it."""
        return shlex.join(self.argv)


def run_together(commands: Sequence[Command]) -> None:
    """Run commands side by side, sharing the cores, until all have ended; each is printed as it starts.

    Raises:
        CommandError: one failed; the others are stopped.
        MissingToolError: a program is not installed.
    """
    running = run_all(commands, len(commands), started=lambda c: tqdm.write(f"\n$ {c}\n  log: {c.log}"))
    with contextlib.closing(running) as errors:
        for error in errors:
            raise error


def run_all(
    commands: Sequence[Command],
    jobs: int,
    *,
    started: Callable[[Command], None] = lambda _: None,
    ended: Callable[[Command], None] = lambda _: None,
) -> Generator[CommandError, None, None]:
    """Run commands, ``jobs`` at once, each as soon as its needs have ended. Cores are divided evenly.

    Args:
        commands: the commands, in order of their start as far as their needs allow. A need that is not among them
            counts as ended.
        jobs: number of commands at once.
        started: called just before one starts.
        ended: called after one has ended well.

    Yields:
        the error of a command that failed. While the caller iterates, the other commands run, except those that need
        the failed one. If the caller stops iterating, or on Ctrl-C or SIGTERM, all commands are stopped.

    Raises:
        MissingToolError: a program is not installed; nothing was started.
    """
    programs = {command.argv[0]: _find(command.argv[0]) for command in commands}
    environment = _environment(jobs)
    waiting, running = list(commands), dict[int, _Running]()
    with _sigterm_exits():
        try:
            while waiting or running:
                pending = {command.title for command in waiting} | {run.command.title for run in running.values()}
                for command in [c for c in waiting if pending.isdisjoint(c.needs)][: jobs - len(running)]:
                    waiting.remove(command)
                    started(command)
                    row = min(set(range(jobs)) - running.keys())
                    with signals_wait():
                        running[row] = _Running(command, programs[command.argv[0]], environment, row)
                time.sleep(_POLL_SECONDS)
                for row in [row for row, run in running.items() if not run.still()]:
                    run = running.pop(row)
                    run.close()
                    if run.status:
                        waiting = _without(waiting, run.command.title)
                        yield CommandError(run.command.argv[0], run.status, run.command.log)
                    else:
                        ended(run.command)
        finally:
            for run in running.values():
                run.close()


def records(log: Path, kind: str) -> list[dict[str, float]]:
    """Return the numbers that fairseq logged as ``train_inner`` or ``valid``."""
    found = (_RECORD.search(line) for line in log.read_text(errors="replace").splitlines())
    return [_numbers(match[2]) for match in found if match and match[1] == kind]


def last_error(text: str) -> str:
    """Return the line of a log with the likeliest cause of its end.

    >>> last_error("starting\\nValueError: too short\\n\\nSet the environment variable HYDRA_FULL_ERROR=1\\n")
    'ValueError: too short'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (errors or lines or ["no output"])[-1]


class _Running:
    """One started command and its bar."""

    def __init__(self, command: Command, program: str, environment: dict[str, str], row: int) -> None:
        self.command = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, *command.argv[1:]], stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        self._log: BinaryIO = command.log.open("rb")
        self._bar = _bar(command, row)

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs, 0 where it has made the updates after which it is stopped."""
        enough = self.command.stops and self._bar.n >= self.command.updates
        return 0 if enough else self._process.poll()

    def still(self) -> bool:
        """Move the bar to where the log is; return whether the command still runs."""
        status = self.status
        for line in self._log.read().decode(errors="replace").splitlines():
            if match := _RECORD.search(line):
                self._show(match[1], _numbers(match[2]))
        self._bar.update(0)
        return status is None

    def close(self) -> None:
        """Take the bar away; end the command where it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._log.close()
        self._bar.refresh()
        self._bar.close()

    def _show(self, kind: str, record: dict[str, float]) -> None:
        if kind == "train_inner":
            self._bar.update(int(record["num_updates"]) - self._bar.n)
            self._bar.set_postfix_str(f"loss {record['loss']:.2f}", refresh=False)
        elif "valid_uer" in record:
            self._bar.set_description_str(f"{self.command.title} (valid UER {record['valid_uer']:.1f})", refresh=False)


def _without(waiting: Sequence[Command], failed: str) -> list[Command]:
    """Return the commands that can still run: not those that need the one that failed, nor those that need them."""
    lost = {failed}
    while more := {command.title for command in waiting if not lost.isdisjoint(command.needs)} - lost:
        lost |= more
    return [command for command in waiting if command.title not in lost]


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Let SIGTERM end this process by an exception, so that the commands which it started are ended, too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can have handlers
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _environment(jobs: int) -> dict[str, str]:
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}


def _bar(command: Command, row: int) -> tqdm[None]:
    """A bar that counts updates, or seconds where nothing can be counted."""
    often = {"mininterval": _SHOW_SECONDS, "miniters": 0, "position": row, "leave": False}
    if command.updates:
        return tqdm(total=command.updates, desc=command.title, unit=" updates", **often)
    return tqdm(desc=command.title, bar_format="{desc}: {elapsed}", **often)


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
        raise MissingToolError(
            f"{program} is not installed beside {sys.executable}; install fairseq in that environment"
        )
    return found
