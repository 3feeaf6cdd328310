"""Results of the runs that are finished, one row a run and test split."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from fairseq_parp import checkpoints
from fairseq_parp.environment.libraries import versions
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.runs import Run
from fairseq_parp.experiments.steps import Outcome
from fairseq_parp.mask_files.comparing import compare, within
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.scoring import score_file
from fairseq_parp.sparsity.overlap import Overlap

_PEAK = re.compile(r"peak memory: ([\d.]+) MB")


def collect(plan: Plan, known: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the rows of all finished runs, in the plan's order.

    Args:
        plan: the experiment.
        known: rows of an earlier call, whose runs are not read again.

    Raises:
        CheckpointError, ResultsError: the output of a finished step cannot be read.
    """
    progress = Progress(plan.out)
    there = {(row.run, row.split): row for row in known}
    return [
        there.get((run.name, split)) or _row(plan, run, outcome, split)
        for run, outcome in plan.outcomes.items()
        for split, step in outcome.decodings.items()
        if progress.finished(step) and (outcome.mpi is None or progress.finished(outcome.mpi))
    ]


def _row(plan: Plan, run: Run, outcome: Outcome, split: str) -> ResultRow:
    data, decoded = plan.experiment.sets[run.data], outcome.decodings[split].product
    checkpoint = outcome.train.product.with_name(f"checkpoint_{plan.experiment.decoded}.pt")
    letters = data.base.get("task.labels", "ltr") == "ltr" and not data.base.classifies_text
    labels = "letters" if letters else "symbols"
    score = score_file(decoded, labels)
    measured, found = _sparsity(checkpoint, outcome)
    seconds, peak = _spent(checkpoint)
    trained, parameters = _trained(checkpoint)
    return ResultRow(
        run=run.name,
        method=run.method,
        data=run.data,
        config=data.base.path.stem,
        protocol=run.protocol,
        sparsity=run.sparsity,
        measured=measured,
        interval=run.interval,
        lr=run.lr,
        seed=run.seed,
        mask_from=run.mask_from or "",
        split=split,
        uer=score.units.percent,
        wer=score.words.percent if score.words else None,
        iou_mpi=found.iou if found else None,
        chance=found.chance if found else None,
        finetunings=run.finetunings,
        updates=run.updates,
        seconds=seconds,
        peak_megabytes=peak,
        checkpoint=relpath(checkpoint, plan.out),
        decoded=relpath(decoded, plan.out),
        pretrained_mask=relpath(outcome.mpi.product, plan.out) if outcome.mpi else "",
        command=shlex.join(outcome.train.argv),
        versions=versions(),
        variant=run.variant,
        trained=trained,
        parameters=parameters,
    )


def _sparsity(checkpoint: Path, outcome: Outcome) -> tuple[float, Overlap | None]:
    """Return the fraction of zeros of a checkpoint, and its mask's overlap with MPI."""
    mask = read_mask(checkpoint)
    if outcome.mpi is None:
        return mask.sparsity, None
    against = compare({"run": mask}, within(read_mask(outcome.mpi.product), mask))
    return mask.sparsity, against.baselines["run"]["overall"][""]


def _spent(checkpoint: Path) -> tuple[float | None, float | None]:
    """Return the seconds that a training took, all its restarts together, and its peak memory in MB."""
    extra: dict[str, Any] = checkpoints.read(checkpoint, with_fairseq=False).get("extra_state") or {}
    log = checkpoint.with_name("train.log")
    logged = _PEAK.findall(log.read_text(errors="replace")) if log.is_file() else []
    return extra.get("previous_training_time"), max(map(float, logged), default=None)


def _trained(checkpoint: Path) -> tuple[int | None, int | None]:
    """Return how many parameters a training trained, of how many; None in files of earlier versions."""
    extra = checkpoints.read(checkpoint, with_fairseq=False).get("extra_state") or {}
    kinds = next((each["adapters"] for each in extra.values() if isinstance(each, dict) and "adapters" in each), None)
    return (None, None) if kinds is None else (sum(kinds["trained"].values()), kinds["size"])
