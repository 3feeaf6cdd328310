"""mp3 to FLAC: what comes out, what is refused, and a conversion that is killed half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
import soundfile

from fairseq_parp.errors import ManifestError, MissingToolError
from fairseq_parp.manifests.corpora.conversion import Clip, convert, require_mp3

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (44_100, 2), (16_000, 1)])
def test_any_rate_becomes_16_khz_mono(tmp_path: Path, mp3, rate: int, channels: int) -> None:
    clip = Clip(mp3(tmp_path / "a.mp3", 1.0, rate, channels), tmp_path / "flac/a.flac")
    assert convert([clip], 1) == 1
    data, given = soundfile.read(clip.target)
    assert given == 16_000
    assert data.ndim == 1
    assert abs(len(data) - 16_000) < 320
    spectrum = numpy.abs(numpy.fft.rfft(data[:16_000]))
    assert abs(int(spectrum.argmax()) - 440) <= 1  # Hz: the tone that went in
    assert abs(numpy.abs(data[4_000:12_000]).max() - 0.5) < 0.05


def test_what_is_there_is_not_converted_again(tmp_path: Path, mp3) -> None:
    clips = [Clip(mp3(tmp_path / f"{name}.mp3"), tmp_path / f"{name}.flac") for name in "ab"]
    clips[0].target.write_bytes(b"mine")
    assert convert(clips, 1) == 1
    assert clips[0].target.read_bytes() == b"mine"
    assert convert(clips, 1) == 0


def test_every_damaged_clip_is_named_and_the_others_are_converted(tmp_path: Path, mp3) -> None:
    clips = [Clip(mp3(tmp_path / f"{name}.mp3"), tmp_path / f"{name}.flac") for name in "abcd"]
    clips[0].source.write_text("no audio")
    clips[1].source.write_bytes(b"")
    clips[2].source.unlink()
    with pytest.raises(ManifestError) as raised:
        convert(clips, 2)
    assert [problem.split(" (")[0] for problem in raised.value.problems] == [
        f"{tmp_path}/{name}.mp3: not readable as audio" for name in "abc"
    ]
    assert sorted(file.name for file in tmp_path.glob("*.flac")) == ["d.flac"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, mp3) -> None:
    (tmp_path / "flac").write_text("a file")
    clips = [Clip(mp3(tmp_path / f"{name}.mp3"), tmp_path / f"flac/{name}.flac") for name in "ab"]
    with pytest.raises(ManifestError, match=rf"/flac/a\.flac: cannot be written \({tmp_path}/flac is not a folder\)$"):
        convert(clips, 1)


def test_a_libsndfile_without_mp3() -> None:
    require_mp3()
    with pytest.raises(MissingToolError, match=r"reads no mp3, 1\.1 does; it comes with pip install -U soundfile"):
        require_mp3({"WAV", "FLAC"})


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
    except FileNotFoundError:
        return True


def wait_until(true, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupted(
    command: list[str], flacs: Path, how: signal.Signals, *, early: bool = False
) -> tuple[dict[Path, int], int, str]:
    """Ends a conversion after some more clips; returns the FLACs with their times, exit status and standard error.

    ``early`` ends it while its processes import.
    """
    before = len(list(flacs.glob("*.flac")))
    # Where the tests run in the background of a shell they ignore SIGINT, and so would the command.
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    signal.signal(signal.SIGINT, earlier)
    if early:
        wait_until(lambda: any("numpy" in Path(f"/proc/{pid}/maps").read_text() for pid in children(running.pid)))
        wait_until(lambda: len(children(running.pid)) == 3)  # the third watches over what they share
    else:
        wait_until(lambda: len(list(flacs.glob("*.flac"))) > before + 4)
    workers = children(running.pid)
    assert len(workers) >= 2
    if how is signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does: to the workers too
    else:
        running.kill()
    _, err = running.communicate(timeout=30)
    wait_until(lambda: all(map(gone, workers)))
    made = {file: file.stat().st_mtime_ns for file in flacs.glob("*.flac")}
    assert all(soundfile.read(file)[0].size for file in made)
    return made, running.returncode, err


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at the processes in /proc")
def test_an_interrupted_conversion_goes_on_where_it_stopped(tmp_path: Path, language) -> None:
    language("tr", sizes={"train": 150, "val": 1, "test": 1}, seconds=10)
    flacs = tmp_path / "data/audio/tr"
    words = ["manifest", "commonvoice", tmp_path / "cv-corpus", "--splits", tmp_path / "common_voices_splits"]
    words += ["--language", "tr", "--processes", "2", "--out", tmp_path / "data"]
    command = [sys.executable, "-m", "fairseq_parp", *map(str, words)]
    _, status, err = interrupted(command, flacs, signal.SIGINT, early=True)
    assert (status, err) == (130, "fairseq-parp manifest: interrupted\n")
    first, status, err = interrupted(command, flacs, signal.SIGINT)
    assert (status, err) == (130, "fairseq-parp manifest: interrupted\n")
    second, _, _ = interrupted(command, flacs, signal.SIGKILL)
    assert 4 < len(first) < len(second) < 152
    assert not list((tmp_path / "data").glob("*.tsv"))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert len(list(flacs.glob("*.flac"))) == 152
    assert {file: file.stat().st_mtime_ns for file in second} == second == {**second, **first}
    assert len((tmp_path / "data/train.tsv").read_text().splitlines()) == 151
