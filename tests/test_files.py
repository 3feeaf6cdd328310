"""Files are whole or not there, and stay so when the machine loses power."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fairseq_parp.files import write_whole


def test_the_content_goes_to_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "new", []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
    )
    write_whole(path, b"content")
    assert synced == [(False, False), (True, True)]
    assert path.read_bytes() == b"content"
