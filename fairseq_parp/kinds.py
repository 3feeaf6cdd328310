"""The kind of a file, by its first bytes: for messages about a file that was given in place of another kind."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from fairseq_parp.errors import absolute, first_line
from fairseq_parp.files import is_torch_saved

EMPTY = "an empty file"
PART_FILE = "a part, which fairseq-parp part show reads and part apply makes a checkpoint of"
MASK_FILE = "a mask file, which fairseq-parp mask show reads"
TEXTS = ("a text file", "an n-gram language model", "fairseq-generate's results")
_SOUND = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM")
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
_ARRAY = b"\x93NUMPY"
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
    if start.startswith(_PICTURE):
        return "a picture"
    if start.startswith(_ARRAY):
        return "a NumPy array"
    if b"\0" in start or not _is_utf8(start):
        return None
    text, model, results = TEXTS
    if "\\data\\" in start.decode(errors="ignore").splitlines()[:3]:
        return model
    return results if start.startswith((b"T-", b"H-")) else text


def absent(path: str | PathLike[str]) -> str:
    """Return why a path is no file: it is a folder, or not there, as may be its folder."""
    file = Path(path)
    if file.is_dir():
        return "a folder; name a file in it"
    folder = Path(absolute(file)).parent
    if folder.is_dir():
        return "no such file"
    return f"no such file: {folder} {'is not a folder' if folder.exists() else 'does not exist'}"


def no_folder(path: str | PathLike[str]) -> str:
    """Return why a path is no folder: it is a file, or not there."""
    return "not a folder" if Path(path).exists() else "no such folder"


def unreadable(path: str | PathLike[str], error: OSError | UnicodeError) -> str:
    """Return why a file cannot be read as text.

    Args:
        path: of the file.
        error: what opening or decoding it raised.
    """
    if isinstance(error, UnicodeError):
        other = kind_of(path) or ("a file of torch.save" if is_torch_saved(Path(path)) else None)
        return f"not UTF-8 text, but {other}" if other and other not in TEXTS else "not UTF-8 text; save it as UTF-8"
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        return absent(path)
    return f"cannot be read ({error.strerror or error})"


def misread(wanted: str, path: str | PathLike[str], error: Exception) -> str:
    """Return why a file that exists cannot be read as ``wanted``, such as ``audio``.

    Args:
        wanted: word that :func:`kind_of` has for the kind.
        path: of the file.
        error: what reading it raised.
    """
    if closed := _closed(path):
        return closed
    other = kind_of(path)
    if other and wanted not in other:
        return f"cannot be read as {wanted}, it is {other}"
    return f"cannot be read as {wanted} ({getattr(error, 'error_string', None) or first_line(error)})"


def _closed(path: str | PathLike[str]) -> str | None:
    try:
        Path(path).open("rb").close()
    except OSError as error:
        return unreadable(path, error)
    return None


def no_checkpoint(path: str | PathLike[str]) -> str | None:
    """Return why a path is no checkpoint, by its first bytes; None if it may be one."""
    if closed := _closed(path):
        return closed
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
        return PART_FILE
    return "a safetensors file, as transformers and others write; fairseq-parp import reads a folder of transformers'"


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return len(start) == _READ and error.start > _READ - 4
    return True
