"""What a file does to the process that reads it: time, memory, code that runs."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from fairseq_parp.errors import ParpError


def in_child(call: Callable[[], object], file: Path) -> tuple[str, float, int]:
    """Call in a process of its own: the error's text, seconds of processor, bytes of memory beyond the file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writing, "w") as pipe:
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
            start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                call()
                said = "nothing was raised"
            except BaseException as error:
                said = f"{type(error).__name__}: {error}" if isinstance(error, ParpError) else f"BUG {error!r}"
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            json.dump([said, time.process_time() - start, (after - before) * 1024 - file.stat().st_size], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, f"the process died with {status}"
    return tuple(json.loads(said))  # type: ignore[return-value]


def require_harmless(call: Callable[[], object], file: Path, error: str) -> None:
    said, seconds, memory = in_child(call, file)
    assert said.startswith(f"{error}: "), said
    assert str(file) in said
    assert "\n" not in said
    assert len(said) < 500
    assert seconds < 2
    assert memory < 500e6
