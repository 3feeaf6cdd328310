"""Trainings on a cluster, through one of hydra's launchers: one job a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from fairseq_parp.commands.arguments import quoted
from fairseq_parp.errors import ConfigError, MissingToolError
from fairseq_parp.experiments.steps import Step

LAUNCHERS = {"submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
             "submitit_local": "hydra_plugins.hydra_submitit_launcher"}  # fmt: skip
"""Launchers that wait for their jobs, and the module that each needs."""


def require_launcher(launcher: Mapping[str, Any]) -> None:
    """Check a description's ``launcher``: its ``name``, and that it is installed.

    Raises:
        ConfigError: no such launcher.
        MissingToolError: it is not installed.
    """
    if not launcher:
        return
    name = launcher.get("name")
    if name not in LAUNCHERS:
        raise ConfigError("launcher.name", name, f"must be one of {', '.join(LAUNCHERS)}")
    try:
        found = importlib.util.find_spec(LAUNCHERS[name])
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingToolError(f"launcher.name={name!r} needs the extra slurm: pip install hydra-submitit-launcher")


def launched(step: Step, launcher: Mapping[str, Any]) -> Sequence[str]:
    """Return the command of a step; a training is handed to the launcher, and the command ends when the job has."""
    if not launcher or not step.updates:
        return step.argv
    options = [f"hydra.launcher.{key}={value}" for key, value in launcher.items() if key != "name"]
    folder = step.product.parent / "launcher"
    where = [f"hydra.sweep.dir={quoted(folder)}", "hydra.sweep.subdir=."]
    program, *argv = step.argv
    return [program, "--multirun", *argv, f"hydra/launcher={launcher['name']}", *where, *options]
