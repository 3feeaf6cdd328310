"""The results beside the page on classification are runs of the shipped experiment; the page has their numbers."""

from __future__ import annotations

import shlex
from pathlib import Path
from statistics import fmean

import pytest

from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.experiments.description import read_experiment
from fairseq_parp.experiments.plan import Plan
from fairseq_parp.experiments.results import read_results
from fairseq_parp.experiments.systems import systems_of

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "docs" / "classification.tsv", ROOT / "docs" / "classification.md"


def test_the_rows_are_all_runs_of_the_shipped_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment = read_experiment(ROOT / "configs" / "experiments" / "classification.yaml")
    plan = Plan(experiment, ROOT / "outputs" / "classification")
    planned = {
        run.name: shlex.join(outcome.train.argv).replace(f"{PLUGIN.parent}/", "").replace(f"{ROOT}/", "")
        for run, outcome in plan.outcomes.items()
    }
    assert {row.run: row.command for row in read_results(RESULTS)} == planned


def test_the_table_has_the_accuracies_of_the_rows() -> None:
    page = PAGE.read_text()
    for system in systems_of(read_results(RESULTS)):
        right = [100 - row.uer for row in system.rows]
        accuracy = f"{fmean(right):.1f} ({', '.join(f'{each:.1f}' for each in right)})"
        one = system.one
        shown = [line for line in page.splitlines() if line.startswith(f"| {one.data} |") and accuracy in line]
        assert len(shown) == 1, (one.run, accuracy)
        assert f"| {one.trained:,} (" in shown[0]
