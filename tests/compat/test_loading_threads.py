"""A process ends with its own status while a thread of fairseq loads batches ahead."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import tiny

PROGRAM = """
import sys
import torch
from fairseq.data.iterators import BufferedIterator
from fairseq_parp.plugin import load_plugin

class Batches:
    def __len__(self):
        return 400

    def __iter__(self):
        for _ in range(400):
            batch = torch.randn(1500, 1500)
            yield batch @ batch

if "with the plugin" in sys.argv:
    load_plugin()
next(iter(BufferedIterator(10 if "a full buffer" in sys.argv else 400, Batches())))
if "a full buffer" in sys.argv:
    import time
    time.sleep(2)
sys.exit("the last line")
"""


def ended(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("buffer", ["room in the buffer", "a full buffer"])
def test_the_line_is_the_last_and_the_status_stays(buffer: str) -> None:
    done = ended("with the plugin", buffer)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "the last line")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python lets such threads hang since then")
def test_stock_fairseq_aborts() -> None:
    done = ended()
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        -signal.SIGABRT, "terminate called without an active exception"
    )  # fmt: skip
