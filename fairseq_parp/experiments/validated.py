"""Results of an experiment of pretrainings: losses, contrastive accuracy and recall of each run and split."""

from __future__ import annotations

import csv
import io
import json
import shlex
import statistics
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path

from fairseq_parp.errors import ExperimentFileError
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.progress import Progress
from fairseq_parp.experiments.runs import Run
from fairseq_parp.files import write_whole
from fairseq_parp.tables import table

TITLE = "# fairseq-parp pretraining results, version 1"

METRICS = ("loss_av", "loss_ssl", "accuracy", "s2i_r1", "s2i_r5", "s2i_r10", "i2s_r1", "i2s_r5", "i2s_r10")
"""Metrics of a row: losses as validated, contrastive accuracy as a fraction, recall in percent."""

_OF_RUN = ("variant", "after", "after_updates", "method", "sparsity", "updates", "seed")
_SHOWN = {
    "accuracy": "contrastive accuracy",
    "s2i_r1": "speech to image R@1, %",
    "s2i_r10": "R@10, %",
    "i2s_r1": "image to speech R@1, %",
    "i2s_r10": "R@10, %",
}


def read_metrics(log: Path, split: str) -> dict[str, float]:
    """Return the metrics that fairseq-validate printed last.

    Raises:
        ExperimentFileError: the log has none.
    """
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
        if f'"{split}_loss"' in line:
            found = json.loads(line[line.index("{") :])
            return {name: float(found[key]) for name in METRICS if (key := f"{split}_{name}") in found}
    raise ExperimentFileError(log, f"has no metrics of {split}")


def write_validated(file: Path, plan: Plan) -> None:
    """Write a row for each finished validation, whole or not at all; a metric that a model lacks is an empty cell."""
    text = io.StringIO(newline="")
    text.write(f"{TITLE}\n")
    columns = ["run", *_OF_RUN, "split", *METRICS, "checkpoint", "command"]
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for run, split, metrics in _finished(plan):
        train = plan.outcomes[run].train
        checkpoint = train.product.with_name(f"checkpoint_{plan.experiment.decoded}.pt")
        places = {"checkpoint": relpath(checkpoint, plan.out), "command": shlex.join(train.argv)}
        of_run = {name: getattr(run, name) for name in _OF_RUN}
        writer.writerow({"run": run.name, "split": split, **of_run, **metrics, **places})
    write_whole(file, text.getvalue().encode())


def validated_table(plan: Plan) -> str:
    """Return the means over the finished seeds, a line for each setting and split."""
    settings: dict[tuple[str, ...], list[dict[str, float]]] = {}
    for run, split, metrics in _finished(plan):
        name = run.name.removesuffix(f"-seed{run.seed}")
        settings.setdefault((name, split), []).append(metrics)
    rows = [(*key, str(len(seeds)), *(_mean(seeds, metric) for metric in _SHOWN)) for key, seeds in settings.items()]
    return "\n".join(table(["run", "split", "seeds", *_SHOWN.values()], rows))


def _mean(seeds: list[dict[str, float]], metric: str) -> str:
    values = [each[metric] for each in seeds if metric in each]
    return f"{statistics.fmean(values):.3f}" if values else "-"


def _finished(plan: Plan) -> Iterator[tuple[Run, str, dict[str, float]]]:
    progress = Progress(plan.out)
    for run, outcome in plan.outcomes.items():
        for split, step in outcome.decodings.items():
            if progress.finished(step):
                yield run, split, read_metrics(step.product, split.rpartition("/")[2])
