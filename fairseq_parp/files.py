"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def write_whole(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that the file is never seen half-written, whatever happens."""
    with writing_whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing_whole(path: str | Path, temporary: str | Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file that takes the name ``path`` at once, when the block ends without an error.

    It is written under another name in the same folder and goes to the disk (fsync) before it is renamed; the
    folder goes to the disk after. Until then, and where anything fails, what stood under ``path`` stays.

    Args:
        path: the name to take; its folder is made where it is missing.
        temporary: the other name; by default one that no other process uses, which a killed process leaves behind.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = Path(temporary) if temporary else target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with written.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        written.replace(target)
        _sync_folder(target.parent)
    finally:
        written.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is the folder that holds the name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network and FUSE file systems cannot; the renamed file is whole all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
