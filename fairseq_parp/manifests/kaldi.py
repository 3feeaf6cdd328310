"""Reads a Kaldi data folder: wav.scp, text, and optionally utt2spk and segments."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fairseq_parp.manifests.reading import doubled, parse, read_lines, shown
from fairseq_parp.manifests.transcripts import TranscriptRow, checked, relative, seconds


class KaldiFolder(NamedTuple):
    """The utterances of a folder, and their problems."""

    rows: list[TranscriptRow]
    problems: list[str]


class _Line(NamedTuple):
    key: str
    value: str
    line: int


def is_kaldi(folder: Path) -> bool:
    """Return whether this is a Kaldi data folder."""
    return (folder / "wav.scp").is_file()


def read_kaldi(folder: Path, root: str, base: str, split: str) -> KaldiFolder:
    """Read a folder; without ``segments`` an utterance is a whole recording.

    Args:
        folder: the folder.
        root: folder to which the rows' paths are relative.
        base: absolute folder from which relative paths in wav.scp start.
        split: split of all utterances.
    """
    problems: list[str] = []
    text, recordings = (_read(folder / name, problems) for name in ("text", "wav.scp"))
    cut = (folder / "segments").is_file()
    segments = _read(folder / "segments", problems) if cut else {}
    speakers = _read(folder / "utt2spk", problems) if (folder / "utt2spk").is_file() else {}
    expected = segments if cut else recordings
    faults: list[tuple[int, str]] = []
    rows: list[TranscriptRow] = []
    for key, said in text.items():
        try:
            path, start, end = _piece(key, recordings, segments, cut)
            speaker = speakers[key].value if key in speakers else ""
            place = f"{folder / 'text'}:{said.line}"
            inside = relative(path if path.startswith("/") else f"{base}/{path}", root)
            rows.append(checked(TranscriptRow(inside, said.value, split, speaker, place, start, end), root))
        except ValueError as error:
            faults.append((said.line, str(error)))
    problems += shown(folder / "text", faults)
    where = folder / ("segments" if cut else "wav.scp")
    untold = [(line.line, f"{key} has no line in text") for key, line in expected.items() if key not in text]
    return KaldiFolder(rows, problems + shown(where, untold))


def _piece(
    key: str, recordings: dict[str, _Line], segments: dict[str, _Line], cut: bool
) -> tuple[str, float | None, float | None]:
    """Return the audio file of an utterance, and start and end in seconds where it is cut out of it."""
    if not cut:
        return _audio(key, recordings), None, None
    if key not in segments:
        raise ValueError(f"{key} has no line in segments")
    fields = segments[key].value.split()
    if len(fields) != 3:
        raise ValueError(f"segments:{segments[key].line} is not UTTERANCE RECORDING START END")
    recording, start, end = fields
    # -1 is Kaldi's own way to write the end of the recording.
    return _audio(recording, recordings), seconds(start), None if end == "-1" else seconds(end)


def _audio(key: str, recordings: dict[str, _Line]) -> str:
    if key not in recordings:
        raise ValueError(f"{key} has no line in wav.scp")
    if recordings[key].value.endswith("|"):
        raise ValueError(f"wav.scp:{recordings[key].line} is a command, which is not run; write its output to a file")
    return recordings[key].value


def _read(file: Path, problems: list[str]) -> dict[str, _Line]:
    """Read ``KEY VALUE`` lines, and add faults to ``problems``."""
    lines, faults = read_lines(file)
    parsed, bad = parse(lines, _line, first=1)
    problems += [*faults, *shown(file, [*bad, *doubled((line.key, line.line) for line in parsed)])]
    return {line.key: line for line in parsed}


def _line(text: str, number: int) -> _Line:
    key, _, value = text.strip().replace("\t", " ").partition(" ")
    if not key:
        raise ValueError("blank line")
    return _Line(key, value.strip(), number)
