"""A process's peak of memory is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_parp.memory import peak_megabytes, resident, resident_peak

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's counters")

HELD = 1 << 30


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    before = resident()
    filled = b"x" * HELD
    assert resident() - before > 0.9 * HELD
    del filled
    assert resident_peak() - before > 0.9 * HELD > resident() - before
    assert peak_megabytes() == resident_peak() / 1e6


def test_what_the_starting_process_holds_does_not_count() -> None:
    filled = b"x" * HELD
    program = "from fairseq_parp.memory import resident_peak; print(resident_peak())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert 0 < int(done.stdout) < len(filled)
