"""Estimates the duration of an experiment from one measured update."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from fairseq_parp.commands.running import Command, run_together
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.steps import Step

_LOGGED = re.compile(r"^\[([\d-]+ [\d:]+),(\d+)\]\[train_inner\]", re.MULTILINE)
_MEASURED = 12
"""Updates that are timed before the training is stopped; the first two, which start everything up, are left out."""


@dataclass(frozen=True)
class Cost:
    """The remaining trainings of an experiment.

    Attributes:
        trainings: their number.
        updates: their total number of updates, by training set.
        seconds: seconds of one update, by training set; unmeasured ones are missing.
        jobs: number of trainings at once.
    """

    trainings: int
    updates: Mapping[str, int]
    seconds: Mapping[str, float]
    jobs: int

    @property
    def minutes(self) -> float | None:
        """Minutes of training, decoding and start-up not included; None if an update was not measured."""
        if not set(self.updates) <= set(self.seconds):
            return None
        return sum(self.seconds[name] * count for name, count in self.updates.items()) / self.jobs / 60


def cost_of(left: Sequence[Step], seconds: Mapping[str, float], jobs: int) -> Cost:
    """Return the cost of the trainings among the remaining steps."""
    trainings = [step for step in left if step.updates]
    updates: dict[str, int] = {}
    for step in trainings:
        updates[step.data] = updates.get(step.data, 0) + step.updates
    return Cost(len(trainings), updates, seconds, max(1, min(jobs, len(trainings))))


def measure(plan: Plan, left: Sequence[Step], jobs: int) -> dict[str, float]:
    """Return the seconds of an update of each training set that is left to train, measured ``jobs`` at once.

    Raises:
        CommandError: not even a few updates can be trained.
    """
    first: dict[str, Step] = {}
    for step in left:
        if step.updates and not step.needs:
            first.setdefault(step.data, step)
    return {name: _measure(plan, step, jobs) for name, step in first.items()}


def _measure(plan: Plan, step: Step, jobs: int) -> float:
    folder = plan.out / "measured"
    names = [f"measure {step.data} {number + 1}" for number in range(jobs)]
    commands = [
        Command(name, _short(plan, step, folder / name), folder / f"{name}.log", _MEASURED, stops=True)
        for name in names
    ]
    run_together(commands)
    return statistics.median(seconds for command in commands for seconds in _seconds(command.log.read_text())[2:])


def _short(plan: Plan, step: Step, folder: Path) -> list[str]:
    """Return the command of a training that leaves nothing behind; its length stays, for other keys depend on it."""
    base = plan.experiment.sets[step.data].base
    changed = {
        "optimization.max_update": max(step.updates, _MEASURED),
        "checkpoint.save_dir": folder,
        "checkpoint.no_save": "true",
        "dataset.disable_validation": "true",
        "common.log_interval": 1,
        "common.log_format": "json",
    }
    kept = [word for word in step.argv if word.partition("=")[0].lstrip("+") not in changed]
    return [*kept, *(base.override(key, value) for key, value in changed.items())]


def _seconds(log: str) -> list[float]:
    times = [datetime.fromisoformat(when).timestamp() + int(rest) / 1000 for when, rest in _LOGGED.findall(log)]
    return [after - before for before, after in pairwise(times)]
