"""``fairseq-parp experiment``: many finetunings from one file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import ConfigError, absolute

if TYPE_CHECKING:
    from fairseq_parp.experiments.cost import Cost
    from fairseq_parp.experiments.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("file", metavar="FILE.yaml", type=Path, help="experiment file (docs/experiments.md)")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="other values for keys of the file")
    parser.add_argument(
        "--out", metavar="DIR", type=OutputFolder, help="output folder (default: outputs/NAME for NAME.yaml)"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="number of commands at once")
    parser.add_argument("--dry-run", action="store_true", help="print the remaining commands, and run none")


def run(arguments: argparse.Namespace) -> int:
    """Plan, show the plan and its cost, run the remaining steps, write the results."""
    from fairseq_parp.experiments.conduct import conduct, print_commands, require_inputs
    from fairseq_parp.experiments.cost import cost_of, measure
    from fairseq_parp.experiments.description import read_experiment
    from fairseq_parp.experiments.plan import Plan
    from fairseq_parp.experiments.progress import Progress

    experiment = read_experiment(arguments.file, arguments.overrides)
    most = 1000 if experiment.launcher else os.cpu_count() or 1
    if not 1 <= arguments.jobs <= most:
        raise ConfigError(
            "--jobs", arguments.jobs, f"from 1 to {most}: the cores of this machine, or jobs of a launcher"
        )
    plan = Plan(experiment, Path(absolute(arguments.out or Path("outputs") / experiment.name)))
    progress = Progress(plan.out)
    progress.require_same(plan.steps.values())
    left = progress.left(plan.steps.values())
    if arguments.dry_run:
        print(print_commands(left, plan.out))
        print(f"\n{show(plan, cost_of(left, {}, arguments.jobs))}")
        return 0
    require_inputs(plan)
    here = bool(left) and not experiment.launcher
    print(show(plan, cost_of(left, measure(plan, left, arguments.jobs) if here else {}, arguments.jobs)), flush=True)
    try:
        conduct(plan, arguments.jobs, lambda: _write(plan))
    finally:
        _write(plan)
    print(f"\n{_summary(plan)}\nresults: {_results(plan)}")
    return 0


def show(plan: Plan, cost: Cost) -> str:
    """Return the plan and its cost in words."""
    trainings = plan.trainings
    every, left = sum(step.updates for step in trainings), sum(cost.updates.values())
    lines = [
        f"{plan.experiment.name}: {len(plan.outcomes)} runs need {len(trainings)} trainings of {every:,} updates",
        f"left: {cost.trainings} trainings of {left:,} updates; everything goes to {plan.out}",
    ]
    if cost.trainings and cost.minutes is not None:
        measured = ", ".join(f"{seconds:.2f} s ({name})" for name, seconds in cost.seconds.items())
        lines.append(
            f"an update takes {measured}, measured with {cost.jobs} at once: about {cost.minutes:.0f} minutes of "
            "training, and start-up and decoding beside it"
        )
    return "\n".join(lines)


def _results(plan: Plan) -> Path:
    """Experiments in one folder share common steps, and have a results file each."""
    return plan.out / f"{plan.experiment.name}.tsv"


def _write(plan: Plan) -> None:
    from fairseq_parp.experiments.collect import collect
    from fairseq_parp.experiments.results import read_results, write_results
    from fairseq_parp.experiments.validated import write_validated

    file = _results(plan)
    if plan.pretrains:
        write_validated(file, plan)
        return
    write_results(file, collect(plan, read_results(file) if file.is_file() else []))


def _summary(plan: Plan) -> str:
    from fairseq_parp.experiments.results import read_results
    from fairseq_parp.experiments.summary import summary
    from fairseq_parp.experiments.validated import validated_table

    if plan.pretrains:
        return validated_table(plan)
    return summary(read_results(_results(plan)), plan.out)
