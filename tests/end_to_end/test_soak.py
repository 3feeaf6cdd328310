"""The soak's own check, short: what `python tests/end_to_end/soak.py` does for two hours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_short_soak_is_exact_and_drawn(tmp_path: Path) -> None:
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, str(script), "--minutes", "0.4", "--every", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 not exact" in done.stdout
    assert (tmp_path / "soak.png").stat().st_size > 10_000
    assert len((tmp_path / "soak.csv").read_text().splitlines()) > 5
