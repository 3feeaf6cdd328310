"""Small corpora with real audio, laid out as the real ones are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy
import pytest
import soundfile

from fairseq_parp.manifests.corpora.facts import Fact, digest

FRAMES = 16_000
LANGUAGE = {"train": 3, "val": 1, "test": 2}
"""Clips in each split of a small language."""


@pytest.fixture
def chapter(audio) -> Callable[..., list[str]]:
    """Writes a chapter's FLACs and transcript; returns the ids."""

    def write(subset: Path, speaker: int, chapter: int, count: int = 3, frames: int = FRAMES) -> list[str]:
        folder = subset / str(speaker) / str(chapter)
        ids = [f"{speaker}-{chapter}-{number:04d}" for number in range(count)]
        for utterance in ids:
            audio(folder / f"{utterance}.flac", frames)
        lines = [f"{utterance} IT'S {'AN' * (1 + number)} EGG" for number, utterance in enumerate(ids)]
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("\n".join(lines) + "\n")
        return ids

    return write


@pytest.fixture
def fact_of() -> Callable[..., Fact]:
    """Makes the fact about utterances of one length."""

    def make(ids: Sequence[str], frames: int = FRAMES, **more: object) -> Fact:
        return Fact(len(ids), frames * len(ids), digest(ids), **more)

    return make


@pytest.fixture
def librispeech(tmp_path: Path, chapter) -> Path:
    """Two subsets of LibriSpeech with two chapters each."""
    base = tmp_path / "LibriSpeech"
    for subset, speaker in (("dev-other", 116), ("train-clean-100", 3526)):
        chapter(base / subset, speaker, 288045)
        chapter(base / subset, speaker, 288046, 2)
    (base / "README.TXT").write_text("as unpacked\n")
    (base / "CHAPTERS.TXT").write_text(
        ";ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE | PROJECT TITLE\n"
        "288045 | 116  | 8.06  | dev-other        | 1    | 2     | A         | B\n"
        "288046 | 116  | 8.06  | dev-other        | 1    | 2     | A         | B\n"
    )
    return base


@pytest.fixture
def problems_of() -> Callable[..., list[str]]:
    """The problems that a builder refuses for; nothing may have been written."""

    def refused(error: type[Exception], build: Callable[..., object], out: Path, **options: object) -> list[str]:
        with pytest.raises(error) as raised:
            build(out=out, **options)
        assert not list(out.glob("*.tsv"))
        return raised.value.problems

    return refused


@pytest.fixture
def mp3() -> Callable[..., Path]:
    """Writes an mp3 of 48 kHz, as Common Voice's are."""

    def write(file: Path, seconds: float = 1.0, rate: int = 48_000, channels: int = 1) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        tone = numpy.sin(2 * numpy.pi * 440 * numpy.arange(int(seconds * rate)) / rate) / 2
        soundfile.write(file, numpy.stack([tone] * channels, axis=1), rate)
        return file

    return write


@pytest.fixture
def language(tmp_path: Path, mp3) -> Callable[..., dict[str, list[str]]]:
    """Writes a language's clips and its folder of ``common_voices_splits``; returns the ids of each split."""

    def write(
        code: str, phones: str = "a tʃ ɲ", sizes: Mapping[str, int] = LANGUAGE, seconds: float = 1.0
    ) -> dict[str, list[str]]:
        clips = tmp_path / f"cv-corpus/{code}/clips"
        clip = mp3(clips / f"common_voice_{code}_elsewhere.mp3", seconds).read_bytes()
        folder = tmp_path / "common_voices_splits" / code
        folder.mkdir(parents=True)
        ids, labels = {}, []
        for split, list_ in (("train", "trainSeqs_1.0"), ("val", "valSeqs_1.0"), ("test", "testSeqs")):
            ids[split] = [f"common_voice_{code}_{split}{number}" for number in range(sizes[split])]
            (folder / f"{list_}_uniform_new_version.txt").write_text("".join(f"{name}\n" for name in ids[split]))
            labels += [f"{name} 2 0 1 0 \n" for name in ids[split]]
            for name in ids[split]:
                (clips / f"{name}.mp3").write_bytes(clip)
        labels.append(f"common_voice_{code}_elsewhere 7 8 9 \n")
        (folder / "validated_phones_reduced.txt").write_text("".join(labels))
        numbers = {phone: number for number, phone in enumerate(phones.split())}
        (folder / "phonesMatches_reduced.json").write_text(json.dumps(numbers))
        return ids

    return write
