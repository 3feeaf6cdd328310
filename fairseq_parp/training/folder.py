"""One training at a time saves into a folder.

The first rank of a run holds a POSIX lock on a file in ``checkpoint.save_dir`` until an exception ends the run, the
next run of its process starts, or the process ends. The kernel frees it then, also after SIGKILL, and children such as
data workers do not inherit it. An NFS server frees the lock of a lost node when that node's lease ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import distributed

from fairseq_parp.compat.whole_saving import UNFINISHED
from fairseq_parp.errors import ConfigError, FolderInUseError, absolute, hydra_of_sweep
from fairseq_parp.training.ranks import rank

logger = logging.getLogger(__name__)

LOCK = ".train.lock"

_held: int | None = None
"""Descriptor of the lock file of this process's run. Closing any other descriptor of that file would free the lock."""


def claim(folder: str) -> None:
    """Lock a folder for this run; every rank calls this. Then remove the remains of killed saves.

    Raises:
        FolderInUseError: another process trains into the folder. Every rank of the run raises it.
        ConfigError: another job of the same sweep saved into the folder, or it cannot be written.
    """
    refusal: list[Any] = [None]
    error: ConfigError | FolderInUseError | None = None
    if rank() == 0:
        try:
            _lock(Path(folder))
        except (ConfigError, FolderInUseError) as found:
            error, refusal = found, [str(found)]
    if distributed.is_initialized():
        distributed.broadcast_object_list(refusal, src=0)
    if refusal[0] is not None:
        raise error or FolderInUseError(refusal[0])


def release() -> None:
    """Free the folder that this process's run holds, if it holds one."""
    global _held
    if _held is not None:
        os.close(_held)
        _held = None


@contextlib.contextmanager
def releasing() -> Iterator[None]:
    """Free the folder where an exception ends the block, and with it the run."""
    try:
        yield
    except BaseException:
        release()
        raise


def _lock(folder: Path) -> None:
    global _held
    release()  # the run of an earlier job of a sweep, in this process
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise ConfigError("checkpoint.save_dir", folder, f"cannot be written ({error.strerror})") from error
    mine = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        **_job(),
    }
    try:
        before = _take(opened, folder)
        _require_other_folder_per_job(folder, before, mine)
        os.ftruncate(opened, 0)
        os.pwrite(opened, json.dumps(mine).encode(), 0)
    except BaseException:
        os.close(opened)
        raise
    _held = opened


def _take(opened: int, folder: Path) -> dict[str, Any]:
    """Lock the open file, and return the text that its last holder wrote."""
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise FolderInUseError.of(folder, _written(opened)) from None
        logger.warning(
            f"{absolute(folder)}: its file system has no locks ({error.strerror}); "
            "a second training into this folder would not be noticed"
        )
    else:
        for leftover in folder.glob(f".*{UNFINISHED}"):
            leftover.unlink(missing_ok=True)
    return _written(opened)


def _written(opened: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        content = json.loads(os.pread(opened, 1 << 20, 0))
        if isinstance(content, dict):
            return content
    return {}


def _job() -> dict[str, Any]:
    """Identify the job of hydra's sweep that this run is; empty outside a sweep."""
    hydra = hydra_of_sweep()
    if hydra is None:
        return {}
    sweep, overrides = Path(hydra.runtime.cwd, hydra.sweep.dir), OmegaConf.to_container(hydra.overrides.task)
    return {"sweep": str(sweep), "job": hydra.job.num, "overrides": overrides}


def _require_other_folder_per_job(folder: Path, before: dict[str, Any], mine: dict[str, Any]) -> None:
    """Refuse the folder of another job: that job's checkpoint would pass for this one's."""
    same_sweep = "sweep" in mine and before.get("sweep") == mine["sweep"]
    if same_sweep and before.get("job") != mine["job"] and before.get("overrides") != mine["overrides"]:
        allowed = (
            f"job {before.get('job')} of this sweep saved there, with other settings; give each job its own folder: "
            f"'checkpoint.save_dir={absolute(folder)}/${{hydra:job.num}}'"
        )
        raise ConfigError("checkpoint.save_dir", folder, allowed)
