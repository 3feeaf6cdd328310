from pathlib import Path

import pytest

from fairseq_parp.demo import commands
from fairseq_parp.demo.commands import Command, CommandError, records, run_together
from fairseq_parp.errors import MissingToolError

LOG = """[2026-01-01 10:00:00,000][fairseq.trainer][INFO] - begin training epoch 1
[2026-01-01 10:00:01,000][train_inner][INFO] - {"epoch": 1, "loss": "8.5", "ups": "2", "num_updates": "10"}
[2026-01-01 10:00:02,000][train_inner][INFO] - {"epoch": 1, "loss": "4.5", "ups": "1", "num_updates": "20"}
[2026-01-01 10:00:03,000][valid][INFO] - {"epoch": 1, "valid_uer": "51.5", "best": null, "valid_num_updates": "20"}
"""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_POLL_SECONDS", 0.01)


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


def test_a_failure_is_one_line_and_stops_the_others(tmp_path: Path) -> None:
    log = tmp_path / "bad.log"
    with pytest.raises(CommandError) as failure:
        run_together([shell("echo 'ValueError: too short'; exit 3", log), shell("sleep 60", tmp_path / "slow.log")])
    assert str(failure.value) == f"sh ended with status 3: ValueError: too short (log: {log})"


def test_a_missing_program_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="no-such-program"):
        run_together([Command("test", ["no-such-program"], tmp_path / "log")])
    assert not (tmp_path / "log").exists()
