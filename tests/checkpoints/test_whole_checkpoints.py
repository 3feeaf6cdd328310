"""A checkpoint is whole or it is not there: full disks, kills in the middle of a write, flipped bits."""

from __future__ import annotations

import inspect
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny
import torch
from damage import flipped, stock_training
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from fairseq_parp import checkpoints
from fairseq_parp.compat.whole_saving import copy_whole, save_whole
from fairseq_parp.errors import CheckpointError, OneLineExit
from fairseq_parp.training.folder import claim

stock_load = inspect.unwrap(checkpoint_utils.load_checkpoint_to_cpu)


def leftovers(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if "tmp" in file.name]


@pytest.fixture
def interrupted(finetuned: Path, tmp_path: Path) -> Path:
    """The folder of a run that stopped at update 9, with the checkpoints of updates 3, 6 and 9."""
    save = tmp_path / "run"
    save.mkdir()
    for name in ("checkpoint_2_3.pt", "checkpoint_5_9.pt"):
        shutil.copy(finetuned / name, save)
    shutil.copy(finetuned / "checkpoint_5_9.pt", save / "checkpoint_last.pt")
    return save


def test_no_room_for_the_next_checkpoint(
    commands: tiny.Commands, data: Path, pretrained: Path, interrupted: Path, tmp_path: Path
) -> None:
    before = {file.name: file.read_bytes() for file in interrupted.glob("*.pt")}
    room = len(before["checkpoint_last.pt"]) // 2
    arguments = tiny.training(interrupted, data, pretrained, "dataset.num_workers=0")
    done = commands.train(tmp_path, arguments, expect=1, file_size=room)
    assert done.err.strip().splitlines()[-1].startswith(f"fairseq_parp: {interrupted}/checkpoint")
    assert "cannot be saved (File too large); the earlier checkpoints are as they were" in done.last_line
    assert "Traceback" not in done.err
    assert {file.name: file.read_bytes() for file in interrupted.glob("*.pt")} == before
    assert not leftovers(interrupted)


@pytest.fixture
def small_disk(tmp_path: Path, finetuned: Path) -> Iterator[Path]:
    """A disk with room for two checkpoints and a bit."""
    size = (finetuned / "checkpoint_last.pt").stat().st_size * 21 // 10
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def whole(path: Path) -> bool:
    try:
        torch.load(path, weights_only=False)
    except (RuntimeError, EOFError, OSError):
        return False
    return True


FULL = ["checkpoint.no_epoch_checkpoints=false", "checkpoint.save_interval_updates=99"]


def test_a_full_disk(commands: tiny.Commands, data: Path, pretrained: Path, small_disk: Path, tmp_path: Path) -> None:
    done = commands.train(tmp_path, tiny.training(small_disk, data, pretrained, *FULL), expect=1)
    assert "cannot be saved (No space left on device); the earlier checkpoints are as they were" in done.last_line
    assert "Traceback" not in done.err
    assert (small_disk / "checkpoint1.pt").exists()
    assert all(whole(file) for file in small_disk.glob("*.pt"))
    assert not leftovers(small_disk)


def test_a_full_disk_leaves_stock_fairseq_half_a_checkpoint(
    commands: tiny.Commands, data: Path, pretrained: Path, small_disk: Path, tmp_path: Path
) -> None:
    done = commands.train(tmp_path, stock_training(tmp_path, small_disk, data, pretrained, *FULL), expect=None)
    assert done.status != 0
    assert not all(whole(file) for file in small_disk.glob("checkpoint_*.pt"))


def test_crash_pt_that_cannot_be_saved_hides_nothing(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    keys = ["optimization.lr=[1e38]", "model.freeze_finetune_updates=99", "criterion.zero_infinity=false"]
    keys += ["checkpoint.save_interval_updates=0", "dataset.validate_interval=99", "dataset.num_workers=0"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys), expect=None, file_size=100_000)
    assert done.status == 1
    assert "crash.pt: cannot be saved" in done.out
    assert "cannot be saved" not in done.last_line
    assert not (tmp_path / "crash.pt").exists()


def killed_while(action: Callable[[], object], target: Path) -> None:
    """SIGKILL a process in the middle of ``action``: as soon as any file beside ``target`` begins to grow."""
    there = {file: file.stat().st_ino for file in target.parent.iterdir()}
    sizes = {file: file.stat().st_size for file in there}
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        now = {file: file.stat().st_size for file in target.parent.iterdir() if file.exists()}
        if any(size and size != sizes.get(file) for file, size in now.items()):
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            return
        time.sleep(0.0005)
    raise AssertionError("it was done before it could be killed")


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose copying takes long enough to be killed in: 250 MB."""
    path = tmp_path_factory.mktemp("big") / "big.pt"
    model = {str(n): torch.full((2500, 2500), float(n)) for n in range(10)}
    torch.save({"model": model, "args": None, "cfg": {}}, path)
    return path


def test_killed_while_last_is_copied(big: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"the older one")
    killed_while(lambda: copy_whole(big, last), last)
    assert last.read_bytes() == b"the older one"
    copy_whole(big, last)  # what the kill left is in nobody's way
    assert len(leftovers(tmp_path)) == 1
    claim(str(tmp_path))  # as the next training does
    assert not leftovers(tmp_path)
    killed_while(lambda: save_whole(checkpoints.read(last), last), last)
    checkpoints.read(last)


def test_killed_while_stock_fairseq_copies_last(big: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoint_last.pt"
    last.write_bytes(b"the older one")
    killed_while(lambda: PathManager.copy(str(big), str(last), overwrite=True), last)
    assert not whole(last)


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    return vars(one) == vars(other) if hasattr(one, "__dict__") else one == other


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(pretrained: Path, tmp_path: Path) -> None:
    good, found = checkpoints.read(pretrained), 0
    size = pretrained.stat().st_size
    for number, at in enumerate([*range(0, size, size // 150), *range(size - 60, size)]):
        try:
            read = checkpoints.read(flipped(pretrained, tmp_path / "flipped.pt", at, number % 8))
        except CheckpointError:
            found += 1
        else:
            assert same(read, good), at
    assert found > 150


def test_stock_fairseq_loads_a_flipped_bit(pretrained: Path, tmp_path: Path) -> None:
    weight = torch.load(pretrained, weights_only=False)["model"]["encoder.layers.0.fc1.weight"]
    at = pretrained.read_bytes().index(weight.numpy().tobytes()) + 402
    path = flipped(pretrained, tmp_path / "flipped.pt", at, 3)
    assert not torch.equal(stock_load(str(path))["model"]["encoder.layers.0.fc1.weight"], weight)
    with pytest.raises(CheckpointError, match=r"flipped.pt: .*the checksum of \w+/data/\d+ is wrong"):
        checkpoints.read(path)


def test_an_old_file_is_checked_by_its_structure_and_the_log_says_so(
    pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old.pt"
    torch.save(torch.load(pretrained, weights_only=False), old, _use_new_zipfile_serialization=False)
    assert same(checkpoints.read(old), checkpoints.read(pretrained))
    assert f"{old}: an old file without checksums; only its structure could be checked" in caplog.text
    whole = old.read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:2000], whole[:-300] + whole[-200:]):
        old.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"old.pt: truncated, damaged or not a checkpoint"):
            checkpoints.read(old)


def test_a_damaged_last_names_the_way_out_and_only_the_user_takes_it(
    commands: tiny.Commands, data: Path, pretrained: Path, interrupted: Path, tmp_path: Path
) -> None:
    last = interrupted / "checkpoint_last.pt"
    last.write_bytes(last.read_bytes()[:-5000])
    earlier = interrupted / "checkpoint_5_9.pt"
    flipped(earlier, earlier, earlier.stat().st_size // 2)
    before = last.read_bytes()
    done = commands.train(tmp_path, tiny.training(interrupted, data, pretrained), expect=1)
    way = f"checkpoint.restore_file={interrupted}/checkpoint_2_3.pt"
    assert done.last_line.startswith(f"fairseq_parp: {last}: truncated, damaged or not a checkpoint")
    assert done.last_line.endswith(f"checkpoint_2_3.pt is whole: {way} resumes from there")
    assert "Traceback" not in done.err
    assert last.read_bytes() == before
    done = commands.train(tmp_path, tiny.training(interrupted, data, pretrained, way))
    assert "@ 3 updates)" in done.out
    checkpoints.read(last)


def test_a_save_that_fails_otherwise_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.pt").mkdir()
    with pytest.raises(OneLineExit, match=r"checkpoint_last.pt: cannot be saved \(Is a directory\)"):
        save_whole({}, tmp_path / "checkpoint_last.pt")
    assert not leftovers(tmp_path)
