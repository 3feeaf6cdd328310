import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fairseq_parp.commands import running
from fairseq_parp.commands.running import Command, CommandError, records, run_all, run_together
from fairseq_parp.errors import MissingToolError

LOG = """[2026-01-01 10:00:00,000][fairseq.trainer][INFO] - begin training epoch 1
[2026-01-01 10:00:01,000][train_inner][INFO] - {"epoch": 1, "loss": "8.5", "ups": "2", "num_updates": "10"}
[2026-01-01 10:00:02,000][train_inner][INFO] - {"epoch": 1, "loss": "4.5", "ups": "1", "num_updates": "20"}
[2026-01-01 10:00:03,000][valid][INFO] - {"epoch": 1, "valid_uer": "51.5", "best": null, "valid_num_updates": "20"}
"""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.01)


def shell(script: str, log: Path, updates: int = 0) -> Command:
    return Command("test", ["sh", "-c", script], log, updates)


def test_records_are_the_numbers_that_fairseq_logged(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text(LOG)
    assert [record["ups"] for record in records(log, "train_inner")] == [2, 1]
    assert records(log, "valid") == [{"epoch": 1, "valid_uer": 51.5, "valid_num_updates": 20}]


def test_commands_are_echoed_logged_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, log = tmp_path / "source.log", tmp_path / "logs" / "one.log"
    source.write_text(LOG)
    run_together([shell(f"cat {source}", log, updates=20), shell("echo hello", tmp_path / "two.log")])
    assert log.read_text() == LOG
    assert (tmp_path / "two.log").read_text() == "hello\n"
    shown = capsys.readouterr()
    assert f"$ sh -c 'cat {source}'" in shown.out
    assert str(log) in shown.out
    assert "20/20" in shown.err
    assert "valid UER 51.5" in shown.err


def test_a_command_is_stopped_after_its_updates_and_has_ended_well(tmp_path: Path) -> None:
    source, log = tmp_path / "source.log", tmp_path / "one.log"
    source.write_text(LOG)
    began = time.monotonic()
    run_together([replace(shell(f"cat {source}; exec sleep 60", log, updates=20), stops=True)])
    assert time.monotonic() - began < 30
    with pytest.raises(CommandError):  # it failed before
        run_together([replace(shell(f"cat {source}; exit 3", log, updates=21), stops=True)])


def test_a_failure_is_one_line_and_stops_the_others(tmp_path: Path) -> None:
    log = tmp_path / "bad.log"
    with pytest.raises(CommandError) as failure:
        run_together([shell("echo 'ValueError: too short'; exit 3", log), shell("sleep 60", tmp_path / "slow.log")])
    assert str(failure.value) == f"sh ended with status 3: ValueError: too short (log: {log})"


def test_a_missing_program_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        run_together([Command("test", ["no-such-program"], tmp_path / "log")])
    assert not (tmp_path / "log").exists()


def test_each_starts_when_what_it_needs_has_ended(tmp_path: Path) -> None:
    def step(name: str, script: str, *needs: str) -> Command:
        return Command(name, ["sh", "-c", script], tmp_path / f"{name}.log", needs=needs)

    order: list[str] = []
    steps = [
        step("last", f"cat {tmp_path}/one {tmp_path}/two", "one", "two"),
        step("one", f"sleep 0.2; echo 1 > {tmp_path}/one", "of an earlier time"),
        step("two", f"echo 2 > {tmp_path}/two"),
    ]
    assert not list(run_all(steps, 2, ended=lambda command: order.append(command.title)))
    assert order == ["two", "one", "last"]
    assert (tmp_path / "last.log").read_text() == "1\n2\n"


def test_a_failure_takes_only_those_with_it_that_need_it(tmp_path: Path) -> None:
    def step(name: str, script: str, *needs: str) -> Command:
        return Command(name, ["sh", "-c", script], tmp_path / f"{name}.log", needs=needs)

    ended: list[str] = []
    steps = [
        step("bad", "exit 3"),
        step("child", "true", "bad"),
        step("grandchild", "true", "child"),
        step("ok", "true"),
    ]
    errors = list(run_all(steps, 1, ended=lambda command: ended.append(command.title)))
    assert [error.status for error in errors] == [3]
    assert ended == ["ok"]


@pytest.mark.parametrize("early", [False, True], ids=["while it runs", "just started, not noted yet"])
def test_sigterm_ends_the_commands_too(tmp_path: Path, early: bool) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from fairseq_parp.commands import running
from fairseq_parp.commands.running import Command, run_together

def bar(command, row, made=running._bar):
    while not Path("{tmp_path}/pid").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    return made(command, row)

if {early}:
    running._bar = bar
run_together([Command("a", ["sh", "-c", "echo $$ > {tmp_path}/pid; exec sleep 60"], Path("{tmp_path}/log"))])
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not early:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.terminate()
    assert parent.wait(timeout=30) == 143
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
