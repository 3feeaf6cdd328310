"""The kind of a file, by its first bytes: for messages about a file that was given in place of another kind."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

EMPTY = "an empty file"
MASK_FILE = "a mask file, which fairseq-parp mask show reads"
_SOUND = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM")
_READ = 4096


def kind_of(path: str | PathLike[str]) -> str | None:
    """Return the kind of a path, such as ``a folder``; None if it is unknown, as for files of ``torch.save``."""
    file = Path(path)
    if file.is_dir():
        return "a folder"
    try:
        with file.open("rb") as opened:
            start = opened.read(_READ)
    except OSError:
        return None
    if not start:
        return EMPTY
    if start[8:9] == b"{":
        return _safetensors(file, int.from_bytes(start[:8], "little"))
    if start.startswith(_SOUND):
        return "an audio file"
    if b"\0" in start or not _is_utf8(start):
        return None
    if "\\data\\" in start.decode(errors="ignore").splitlines()[:3]:
        return "an n-gram language model"
    return "fairseq-generate's results" if start.startswith((b"T-", b"H-")) else "a text file"


def absent(path: str | PathLike[str]) -> str:
    """Return why a path is no file: it is a folder, or not there."""
    return "a folder; name a file in it" if Path(path).is_dir() else "no such file"


def no_checkpoint(path: str | PathLike[str]) -> str | None:
    """Return why a path is no checkpoint, by its first bytes; None if it may be one."""
    if not Path(path).is_file():
        return absent(path)
    other = kind_of(path)
    return f"not a checkpoint, but {other}" if other and other != EMPTY else None


def _safetensors(file: Path, length: int) -> str | None:
    with file.open("rb") as opened:
        opened.seek(8)
        try:
            metadata = json.loads(opened.read(length)).get("__metadata__") or {}
        except (ValueError, MemoryError, OverflowError, AttributeError, RecursionError):
            return None
    if str(metadata.get("format", "")).startswith("fairseq_parp.compact"):
        return None
    if str(metadata.get("format", "")).startswith("fairseq_parp.mask"):
        return MASK_FILE
    if str(metadata.get("format", "")).startswith("fairseq_parp.part"):
        return "a part, which fairseq-parp part show reads and part apply makes a checkpoint of"
    return "a safetensors file, as transformers and others write; fairseq-parp import reads a folder of transformers'"


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return len(start) == _READ and error.start > _READ - 4
    return True
