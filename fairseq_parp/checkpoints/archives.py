"""Checks, before torch reads a checkpoint file, that it is whole and that its pickle is harmless.

torch >= 1.6 writes a zip of uncompressed records, each with a checksum (CRC-32) that torch itself never compares.
Older files have no checksums: a pickle, then the tensors with their lengths. Only their structure can be checked.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import struct
import zipfile
from collections.abc import Collection, Mapping, Sequence
from typing import IO

from fairseq_parp.checkpoints.pickles import LIMIT, RefusedError, Scanner

logger = logging.getLogger(__name__)

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

_END_OF_ZIP = struct.Struct("<4s4H2LH")


class DamagedError(Exception):
    """The file differs from what was saved; the message names the place."""


def inspect(file: IO[bytes], shown: str, allowed: Collection[str] = ()) -> None:
    """Check an open checkpoint file, and leave it at its start.

    Args:
        file: open for reading, seekable.
        shown: name of the file in the log.
        allowed: full names of classes and functions that the user's own code allows.

    Raises:
        DamagedError: it is cut short or changed, or is no checkpoint.
        RefusedError: it asks for code, or for more memory than it fills.
    """
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        _inspect_zip(file, allowed)
    else:
        _inspect_legacy(file, allowed)
        logger.warning(f"{shown}: an old file without checksums; only its structure could be checked")
    file.seek(0)


def _inspect_zip(file: IO[bytes], allowed: Collection[str]) -> None:
    length = _length(file)
    _require_end(file, length)
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive.infolist(), length)
            bad = archive.testzip()
            if bad is not None:
                raise DamagedError(f"the checksum of {bad} is wrong: something in it changed after it was saved")
            described = Scanner(io.BytesIO(archive.read(records["data.pkl"])), allowed)
            described.scan()
    except zipfile.BadZipFile as error:
        raise DamagedError(str(error)) from None
    for key, storage in described.storages.items():
        there = records.get(f"data/{key}")
        if there is None or there.file_size != storage.bytes:
            has = "is missing" if there is None else f"has {there.file_size} bytes"
            raise RefusedError(f"data/{key} {has}, its pickle states {storage.bytes}")


def _require_end(file: IO[bytes], length: int) -> None:
    """Check that the list of records stands at the end, where every reader of zips looks first."""
    file.seek(max(0, length - _END_OF_ZIP.size))
    tail = file.read()
    if len(tail) < _END_OF_ZIP.size or tail[:4] != b"PK\x05\x06":
        raise DamagedError("the file breaks off: the list of its records is not at its end")
    if _END_OF_ZIP.unpack(tail)[4] == 0xFFFF:
        raise RefusedError("it has more than 65,534 records")
    file.seek(0)


def _records(infos: Sequence[zipfile.ZipInfo], length: int) -> Mapping[str, zipfile.ZipInfo]:
    """Return the records by name, without the folder that torch puts them all into."""
    folder = infos[0].filename.partition("/")[0] + "/" if infos else "/"
    records = {info.filename.removeprefix(folder): info for info in infos if info.filename.startswith(folder)}
    # torch ignores the case of names.
    if len({info.filename.lower() for info in infos}) != len(infos) or len(records) != len(infos):
        raise RefusedError("two of its records have the same name, or they lie in different folders")
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
        raise RefusedError("it has compressed records, which torch never writes")
    if sum(info.file_size for info in infos) > length:
        raise RefusedError("its records overlap")
    if "data.pkl" not in records:
        raise DamagedError("a zip without data.pkl is not a checkpoint")
    if records["data.pkl"].file_size > LIMIT:
        raise RefusedError(f"its pickle is longer than {LIMIT >> 20} MiB")
    return records


def _inspect_legacy(file: IO[bytes], allowed: Collection[str]) -> None:
    started = file.read(1) == pickle.PROTO
    file.seek(0)
    pickles = io.BytesIO(file.read(LIMIT))
    scanner = Scanner(pickles, allowed)
    if not started or scanner.scan() != _LEGACY_MAGIC or scanner.scan() != _LEGACY_PROTOCOL:
        raise DamagedError("not a file that torch.save wrote")
    for _ in ("the machine it was saved on", "the checkpoint"):
        scanner.scan()
    keys = scanner.scan()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(scanner.storages):
        raise DamagedError("its list of tensors is not that of its pickle")
    length = _length(file, pickles.tell())
    for key in keys:
        head = file.read(8)
        storage = scanner.storages[key]
        if len(head) < 8 or int.from_bytes(head, "little") != storage.elements or file.tell() + storage.bytes > length:
            raise DamagedError("its tensors break off, or do not have the lengths that its pickle states")
        file.seek(storage.bytes, os.SEEK_CUR)
    if file.tell() != length:
        raise DamagedError(f"{length - file.tell()} bytes follow after its last tensor")


def _length(file: IO[bytes], back: int = 0) -> int:
    length = file.seek(0, os.SEEK_END)
    file.seek(back)
    return length
