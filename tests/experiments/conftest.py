from collections.abc import Callable
from pathlib import Path

import pytest

from fairseq_parp.experiments.description import read_experiment
from fairseq_parp.experiments.plan import Plan

HEAD = "config: small_10m\ncheckpoint: model.pt\n"


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., Plan]:
    """Plan an experiment that is written below the usual head, unless it has its own data."""

    def plan(text: str, *overrides: str) -> Plan:
        file = tmp_path / "try.yaml"
        file.write_text(HEAD + ("" if "data:" in text else "data: speech\n") + text)
        return Plan(read_experiment(file, overrides), tmp_path / "out")

    return plan
