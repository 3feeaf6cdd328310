"""The files of ``common_voices_splits`` (facebookresearch/CPC_audio): lists of ids, and the phones of every clip."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.manifests.reading import doubled, parse, read_lines, shown

LISTS = {
    "train": "trainSeqs_1.0_uniform_new_version.txt",
    "val": "valSeqs_1.0_uniform_new_version.txt",
    "test": "testSeqs_uniform_new_version.txt",
}
"""The lists of the one-hour splits, by the names that the paper gives them."""

LABELS = "validated_phones_reduced.txt"
"""Lines ``ID NUMBER NUMBER ...``, for all clips of the language."""

NUMBERS = "phonesMatches_reduced.json"
"""An object: phone to number."""


class Phones(NamedTuple):
    """The phones of one clip, between spaces, and ``FILE:LINE`` of them."""

    text: str
    place: str


class _Labelled(NamedTuple):
    id: str
    text: str
    line: int


def read_list(file: Path) -> tuple[list[str], list[str]]:
    """Return the ids of a list, one a line, and its problems."""
    lines, problems = read_lines(file)
    ids, faults = parse(lines, _id, first=1)
    faults += doubled((name, number) for number, name in enumerate(ids, start=1))
    return ids, problems + shown(file, faults)


def read_phones(folder: Path, wanted: Collection[str]) -> tuple[dict[str, Phones], list[str]]:
    """Return the phones of the clips that are wanted, by id, and the problems of the two files."""
    names, problems = _read_numbers(folder / NUMBERS)
    file = folder / LABELS
    lines, faulty = read_lines(file)
    if problems or faulty:
        return {}, problems + faulty
    parsed, faults = parse(lines, lambda text, line: _labelled(text, line, names, wanted), first=1)
    clips = [clip for clip in parsed if clip]
    faults += doubled((clip.id, clip.line) for clip in clips)
    return {clip.id: Phones(clip.text, f"{file}:{clip.line}") for clip in clips}, shown(file, faults)


def _id(text: str, _: int) -> str:
    if len(text.split()) != 1 or "/" in text:
        raise ValueError(f"{text!r} is not an id; each line is the name of a clip without its ending")
    return text.strip()


def _labelled(text: str, line: int, names: Mapping[str, str], wanted: Collection[str]) -> _Labelled | None:
    clip, *numbers = text.split() or [""]
    if clip not in wanted:  # most clips of a language are in no split
        return None
    if not numbers:
        raise ValueError(f"{clip} has no phones")
    if unknown := [number for number in numbers if number not in names]:
        raise ValueError(f"phone number {unknown[0]!r} is not in {NUMBERS}")
    return _Labelled(clip, " ".join(names[number] for number in numbers), line)


def _read_numbers(file: Path) -> tuple[dict[str, str], list[str]]:
    """Return the phone of every number, as it is written in the labels."""
    lines, problems = read_lines(file)
    if problems:
        return {}, problems
    try:
        phones = json.loads("\n".join(lines))
    except json.JSONDecodeError as error:
        return {}, [f"{file}:{error.lineno}: not JSON ({error.msg})"]
    right = isinstance(phones, dict) and all(
        type(number) is int and phone.split() == [phone] for phone, number in phones.items()
    )
    names = {str(number): phone for phone, number in phones.items()} if right else {}
    if not names or len(names) < len(phones):
        return {}, [f"{file}:1: must be an object of phones to numbers, each number once"]
    return names, []
