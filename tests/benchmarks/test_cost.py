"""CPU time of this process and its child processes, while threads and children come and go."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from benchmarks.cost import cpu_seconds


def test_threads_and_children_that_end_meanwhile() -> None:
    stop = threading.Event()

    def start_threads() -> None:
        while not stop.is_set():
            thread = threading.Thread(target=time.sleep, args=(0,))
            thread.start()
            thread.join()

    def start_children() -> None:
        while not stop.is_set():
            subprocess.run(["true"], check=True)

    others = [threading.Thread(target=start_threads), threading.Thread(target=start_children)]
    for each in others:
        each.start()
    try:
        times = [cpu_seconds() for _ in range(600)]
    finally:
        stop.set()
        for each in others:
            each.join()
    assert times == sorted(times)  # nothing is counted twice, and nothing is lost


def test_a_child_counts_while_it_runs_and_after_it_has_ended() -> None:
    before = cpu_seconds()
    busy = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    running = cpu_seconds() - before
    child.communicate(b"\n")
    assert 0.4 <= running <= cpu_seconds() - before
