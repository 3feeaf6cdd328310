"""The demo's corpus: the speaker, text and split of each utterance, written as FLAC files and a table of transcripts.

Splits share the accents, but neither speakers (espeak-ng's variants) nor sentences.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from fairseq_parp.demo.sentences import sentences
from fairseq_parp.demo.speech import SAMPLE_RATE, SpokenWord, Voice, speak

ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc")
VARIANTS = {
    "train": ("m1", "m2", "m3", "m4", "m5", "f1", "Annie", "linda"),
    "valid": ("m7", "Andrea"),
    "test": ("m6", "f4"),
}
"""Speakers by split; none has the breath (f2, f3, f5) that espeak-ng never makes twice the same."""
UTTERANCES = {"test": 80, "valid": 48, "train": 768}
"""The sizes of the finetuning corpus: 35 labelled minutes to train on."""


@dataclass(frozen=True)
class Utterance:
    """One row of the corpus."""

    path: str
    text: str
    split: str
    voice: Voice


def plan(seed: int, utterances: dict[str, int]) -> list[Utterance]:
    """Return every utterance of the corpus; the same seed gives the same rows.

    A longer training split keeps the valid and test splits, which are drawn first, as they are.
    """
    draw, said = random.Random(seed), set[str]()
    rows: list[Utterance] = []
    for split in ("test", "valid", "train"):
        texts = sentences(utterances[split], draw, unlike=said)
        said.update(texts)
        rows += [utterance(split, number, text, draw) for number, text in enumerate(texts)]
    return rows


def utterance(split: str, number: int, text: str, draw: random.Random) -> Utterance:
    """Return a text spoken by a speaker of the split: speakers and accents alternate, the rest is random."""
    variants = VARIANTS[split]
    accent = ACCENTS[number // len(variants) % len(ACCENTS)]
    variant = variants[number % len(variants)]
    voice = Voice(accent, variant, draw.randint(120, 165), draw.randint(35, 65), draw.randint(30, 70))
    return Utterance(f"audio/{split}/{variant}-{number:05}.flac", text, split, voice)


def write(out: Path, rows: Sequence[Utterance], seed: int) -> None:
    """Write the audio of ``rows`` under ``out``, and ``transcripts.tsv`` with path, text, split and speaker."""
    record(out, rows, seed)
    lines = [f"{row.path}\t{row.text.upper()}\t{row.split}\t{row.voice.name}" for row in rows]
    (out / "transcripts.tsv").write_text("\n".join(["path\ttext\tsplit\tspeaker", *lines]) + "\n")


def record(out: Path, rows: Sequence[Utterance], seed: int) -> dict[str, tuple[SpokenWord, ...]]:
    """Write the audio of ``rows`` under ``out``; return the spoken words by path."""
    jobs: dict[str, list[Utterance]] = {}
    for row in rows:
        jobs.setdefault(str(Path(row.path).parent / row.voice.variant), []).append(row)
        (out / row.path).parent.mkdir(parents=True, exist_ok=True)
    work = [(out, job, seed) for job in jobs.values()]
    words: dict[str, tuple[SpokenWord, ...]] = {}
    # One fresh process for each variant: espeak-ng's sound depends on all earlier speech of its process.
    with (
        multiprocessing.get_context("spawn").Pool(maxtasksperchild=1) as pool,
        tqdm(total=len(rows), desc="speech", unit=" utterances") as bar,
    ):
        for found in pool.imap_unordered(_write_audio, work, chunksize=1):
            words |= found
            bar.update(len(found))
    return words


def _write_audio(work: tuple[Path, list[Utterance], int]) -> dict[str, tuple[SpokenWord, ...]]:
    out, rows, seed = work
    words = {}
    for row, spoken in zip(rows, speak([(row.text, row.voice) for row in rows], seed), strict=True):
        soundfile.write(out / row.path, spoken.audio, SAMPLE_RATE, subtype="PCM_16")
        words[row.path] = spoken.words
    return words
