"""Two processes and one folder: unique names while saving, and one training at a time."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import in_process
import pytest
import tiny
import torch
from fairseq import checkpoint_utils

from fairseq_parp import checkpoints
from fairseq_parp.compat import save_dir
from fairseq_parp.compat.whole_saving import UNFINISHED, copy_whole, save_whole
from fairseq_parp.errors import OneLineExit
from fairseq_parp.training.folder import claim


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """The id of a process that holds the folder ``tmp_path``, in which a killed save has left a file."""
    (tmp_path / f".checkpoint_last.pt.0123{UNFINISHED}").write_bytes(b"half")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            claim(str(tmp_path))
            os.write(writing, b"claimed")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    assert os.read(reading, 7) == b"claimed"
    yield child
    os.close(reading)
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def save_many(path: Path, who: int, times: int) -> None:
    """Save and copy again and again; a file that is not whole, or not this process's own, is an error."""
    state = {"model": {"w": torch.full((300_000,), float(who))}, "args": None, "cfg": {"model": {}}, "who": who}
    for _ in range(times):
        save_whole(state, path / f"checkpoint_{who}.pt")
        copy_whole(path / f"checkpoint_{who}.pt", path / f"copy_{who}.pt")
        for name in ("checkpoint", "copy"):
            assert checkpoints.read(path / f"{name}_{who}.pt", with_fairseq=False)["who"] == who


def together(count: int, action: Callable[[int], object]) -> list[int]:
    """Run an action in several processes at once; return their statuses, 2 for an exception."""
    children = []
    for who in range(1, count + 1):
        child = os.fork()
        if child == 0:
            try:
                torch.set_num_threads(1)  # the parent's threads are not there after a fork
                action(who)
                os._exit(0)
            finally:
                os._exit(2)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_two_writers_into_one_folder_keep_whole_files_of_their_own(tmp_path: Path) -> None:
    assert together(2, lambda who: save_many(tmp_path, who, 12)) == [0, 0]
    assert not list(tmp_path.glob(f".*{UNFINISHED}"))


def test_two_starts_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    save_dir.install()

    def start(_: int) -> None:
        for _ in range(3000):
            checkpoint_utils.verify_checkpoint_directory(str(tmp_path))

    assert together(2, start) == [0, 0]


def test_a_run_that_an_exception_ends_frees_its_folder(data: Path, pretrained: Path, tmp_path: Path) -> None:
    recipe = in_process.speech(data, pretrained)
    in_process.train(recipe, tmp_path, stop_after=1, sparsity=0.5)
    assert together(1, lambda _: claim(str(tmp_path))) == [0]
    with pytest.raises(OneLineExit, match="matches no parameter"):
        in_process.train(recipe, tmp_path, sparsity=0.5, scope=["nothing"])
    assert together(1, lambda _: claim(str(tmp_path))) == [0]


def test_a_second_training_is_refused_until_the_first_is_gone(
    commands: tiny.Commands, data: Path, pretrained: Path, holder: int, tmp_path: Path
) -> None:
    half = next(tmp_path.glob(f".*{UNFINISHED}"), None)
    assert half is None  # the holder has removed what was left when it began
    being_written = tmp_path / f".checkpoint_last.pt.4567{UNFINISHED}"
    being_written.write_bytes(b"half")
    keys = ["optimization.max_update=2", "optimization.update_freq=[1]", "dataset.disable_validation=true"]
    arguments = tiny.training(tmp_path, data, pretrained, *keys)
    host = os.uname().nodename
    line = f"checkpoint.save_dir={tmp_path} is in use: process {holder} on {host} has been training into it since 20"
    for done in [commands.train(tmp_path, arguments, expect=1), *commands.train_ranks(tmp_path, 2, arguments)]:
        assert done.status == 1
        assert line in done.last_line, done.err
        assert "Traceback" not in done.err
    assert being_written.exists()
    assert not list(tmp_path.glob("*.pt"))
    assert not (tmp_path / "train.log").exists()
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    commands.train(tmp_path, arguments)
    assert not being_written.exists()
    assert (tmp_path / "checkpoint_last.pt").exists()
