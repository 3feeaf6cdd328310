"""Files are whole or not there, and stay so when the machine loses power."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fairseq_parp import files
from fairseq_parp.files import write_whole, writing_whole


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


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no such call here")
def test_large_content_sets_out_for_the_disk_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(files, "SENT_TOGETHER", 1 << 20)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: sent.append((start, start + length)))
    content = os.urandom(7 << 19)
    with writing_whole(tmp_path / "new") as file:
        for start in range(0, len(content), 100_000):
            file.write(content[start : start + 100_000])
        assert len(sent) == 3
        assert [start for start, _ in sent] == [0, *(stop for _, stop in sent[:-1])]
        assert all(stop - start < 3 << 19 for start, stop in sent)
    assert (tmp_path / "new").read_bytes() == content


def test_two_writers_of_one_name_do_not_meet_before_it_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint_last.pt"
    with writing_whole(target, ".tmp") as one:
        one.write(b"one")
        with writing_whole(target, ".tmp") as other:
            other.write(b"the other")
        assert target.read_bytes() == b"the other"
    assert target.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [target]
