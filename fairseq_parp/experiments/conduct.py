"""Runs the remaining steps of an experiment's plan, and writes each result when it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from fairseq_parp.commands.running import Command, CommandError, run_all
from fairseq_parp.errors import ConfigError, ExperimentError
from fairseq_parp.experiments.launching import launched, require_launcher
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress
from fairseq_parp.experiments.steps import Step
from fairseq_parp.kinds import absent, no_folder


def require_inputs(plan: Plan) -> None:
    """Check the inputs of every run before the first one starts.

    Raises:
        ConfigError: a data folder or a pretrained checkpoint is not there, or no such launcher.
        MissingToolError: the launcher is not installed.
    """
    for data in plan.experiment.sets.values():
        if not data.folder.is_dir():
            raise ConfigError(f"data.{data.name}.folder", str(data.folder.absolute()), no_folder(data.folder))
        if data.checkpoint is not None and not data.checkpoint.is_file():
            raise ConfigError("checkpoint", str(data.checkpoint.absolute()), absent(data.checkpoint))
    require_launcher(plan.experiment.launcher)


def conduct(plan: Plan, jobs: int, changed: Callable[[], None]) -> None:
    """Run the remaining steps, ``jobs`` at once; only steps that need a failed step are left out.

    Args:
        plan: the plan.
        jobs: number of commands at once.
        changed: called after each decoding or validation, when there is a new result.

    Raises:
        ExperimentError: steps failed; the steps that do not depend on them are done. Repeating the command continues.
        ExperimentInputError: a recipe, manifest or pretrained checkpoint was changed meanwhile.
    """
    progress = Progress(plan.out)
    left = {step.name: step for step in progress.left(plan.steps.values())}
    commands = [_command(plan, step) for step in left.values()]
    errors: list[CommandError] = []

    def started(command: Command) -> None:
        progress.write(left[command.title], finished=False)
        tqdm.write(f"{command.title}: {command.log}")

    def ended(command: Command) -> None:
        progress.write(left[command.title], finished=True)
        bar.update()
        if command.title.startswith(("decode ", "validate ")):
            changed()

    with tqdm(total=len(commands), desc="all steps", unit=" steps", position=jobs, disable=None) as bar:
        for error in run_all(commands, jobs, started=started, ended=ended):
            tqdm.write(str(error))
            errors.append(error)
    progress.require_same(plan.steps.values())
    if errors:
        rest = progress.left(plan.steps.values())
        raise ExperimentError(f"{len(errors)} command(s) failed, {len(rest)} steps are left; the first: {errors[0]}")


def _command(plan: Plan, step: Step) -> Command:
    log = plan.out / "logs" / f"{step.file_name}.log"
    return Command(step.name, launched(step, plan.experiment.launcher), log, step.updates, step.needs)


def print_commands(steps: Sequence[Step], out: Path) -> str:
    """Return the steps' commands as one would type them, each under its name."""
    commands = [Command(step.name, step.argv, out) for step in steps]
    return "\n".join(f"# {command.title}\n{command}" for command in commands)
