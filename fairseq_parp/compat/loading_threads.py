"""A process that ends while batches are loaded ahead ends with its own status.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1. ``BufferedIterator`` loads in a daemon thread. If that thread is
inside torch when the interpreter ends, the process aborts before Python 3.14: ``terminate called without an active
exception`` after its last line, and status 134 in place of 0 or 1. Here such threads finish their batch first.
"""

from __future__ import annotations

import atexit
import queue
import threading
from typing import Any


def install() -> None:
    """Stop the threads at the end of the process; calling it again does nothing."""
    atexit.unregister(_stop_all)
    atexit.register(_stop_all)


def _stop_all() -> None:
    from fairseq.data.iterators import BackgroundConsumer

    for thread in threading.enumerate():
        if isinstance(thread, BackgroundConsumer):
            _stop(thread)


def _stop(thread: Any) -> None:
    """Let a thread end after its next batch, and drain its queue so that it does not wait for space."""
    thread._max_len = 0
    while thread.is_alive():
        try:
            thread._queue.get(timeout=0.01)
        except queue.Empty:
            continue
