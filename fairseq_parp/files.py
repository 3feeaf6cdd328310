"""Writes files completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

SENT_TOGETHER = 1 << 25
"""Bytes of a file that set out for the disk together."""

_TORCH_SAVED = (b"PK\x03\x04", b"\x80")
"""How a file begins that ``torch.save`` wrote: a zip, or (before torch 1.6) a pickle."""


def is_torch_saved(file: Path) -> bool:
    """Return whether ``torch.save`` wrote a file, by its first bytes."""
    with file.open("rb") as opened:
        start = opened.read(9)
    # A safetensors file begins with the length of its header, which may be any bytes; then comes the header's "{".
    return start.startswith(_TORCH_SAVED) and not start.endswith(b"{")


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    taken = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(1 << 20):
            taken.update(piece)
    return taken.hexdigest()


def write_whole(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that no reader ever sees half a file."""
    with writing_whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Let an error of the operating system name ``target``, and that it cannot be written, whatever failed inside."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"cannot be written ({_obstacle(target, error)})", str(target)) from error


def _obstacle(target: Path, error: OSError) -> str:
    with contextlib.suppress(OSError):
        nearest = next(folder for folder in target.absolute().parents if folder.exists())
        if not nearest.is_dir():
            return f"{nearest} is not a folder"
        if isinstance(error, IsADirectoryError):
            return "it is a folder; name a file"
        if isinstance(error, (NotADirectoryError, FileExistsError)):
            return "it is a file; name a folder"
    return os.strerror(error.errno or 0)


@contextlib.contextmanager
def writing_whole(path: str | Path, ending: str = "") -> Iterator[IO[bytes]]:
    """Open a file that takes the name ``path`` at once, when the block ends without an error.

    The file is written under a temporary name in the same folder, synced (fsync) and renamed; then the folder is
    synced. Until then, and after any failure, an earlier file ``path`` is unchanged. No other process, on any host,
    uses the temporary name. A killed process leaves the temporary file.

    Args:
        path: final name; a missing folder is made.
        ending: ending of the temporary name, by which remaining files can be found.
    """
    target = Path(path)
    written = target.with_name(f".{target.name}.{secrets.token_hex(8)}{ending}")
    with writing_to(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        opened = _Outgoing(written, target)
    try:
        with io.BufferedWriter(opened) as file:
            yield file
            with writing_to(target):
                file.flush()
                os.fsync(file.fileno())
        with writing_to(target):
            written.replace(target)
            _sync_folder(target.parent)
    finally:
        written.unlink(missing_ok=True)


class _Outgoing(io.FileIO):
    """A file whose content sets out for the disk while it is written: fsync then has little left to wait for."""

    _written = _sent = 0

    def __init__(self, path: Path, target: Path) -> None:
        super().__init__(path, "x")
        self._target = target

    def write(self, data: Any) -> int:
        """Write, and start the writeback of the data so far, without waiting for it."""
        with writing_to(self._target):
            count = super().write(data)
        self._written += count or 0
        if self._written - self._sent >= SENT_TOGETHER and hasattr(os, "posix_fadvise"):
            # Linux starts the writeback of pages that may leave the cache, and keeps unwritten ones.
            os.posix_fadvise(self.fileno(), self._sent, self._written - self._sent, os.POSIX_FADV_DONTNEED)
            self._sent = self._written
        return count


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is the folder that holds the name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network and FUSE file systems cannot; the renamed file is whole all the same.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
