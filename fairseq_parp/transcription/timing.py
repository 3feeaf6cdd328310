"""The times of words in seconds, from the encoder frames of their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.decoding.decoder import Hypothesis

BOUNDARY = "|"
"""The label between two words of ``ltr`` labels."""


class Word(NamedTuple):
    """A word, or a symbol where labels are not letters, and when it starts and ends, in seconds of the audio."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """The transcript of one audio file.

    Attributes:
        words: the words, in order.
        text: the text as fairseq-generate and transformers print it: each boundary between letters is a space, so two
            boundaries without a letter between them are two spaces. No space begins or ends the text.
    """

    words: tuple[Word, ...]
    text: str


def spans(found: Hypothesis, log_probs: Tensor) -> list[tuple[int, int]]:
    """Return the first frame of each label, and the frame behind its last one.

    A label starts at the decoder's start frame. It lasts while it is the most probable symbol, for at least one frame
    and at most until the next label starts.

    Args:
        found: (N,) labels.
        log_probs: (T, C), in which the labels were found.
    """
    path = log_probs.argmax(-1).cpu()
    last = torch.cat((path[1:] != path[:-1], torch.tensor([True]))).nonzero()[:, 0]
    run_ends = last[torch.searchsorted(last, torch.arange(len(path)))] + 1
    starts = found.frames.tolist()
    limits = [*starts, len(path)][1:]
    result = []
    for token, start, limit in zip(found.tokens.tolist(), starts, limits, strict=True):
        kept = start < len(path) and int(path[start]) == token  # a last boundary may lie behind the audio
        result.append((start, max(start, min(int(run_ends[start]) if kept else start + 1, limit))))
    return result


def timed_words(
    symbols: Sequence[str], frames: Iterable[tuple[int, int]], seconds: float, *, letters: bool
) -> Transcript:
    """Join labels to words with times.

    Args:
        symbols: the labels as text; empty ones are left out.
        frames: first frame of each label, and the frame after its last one.
        seconds: duration of one encoder frame.
        letters: labels are letters with boundaries between words; else each is a word of its own.

    >>> frames = [(0, 1), (2, 4), (5, 6), (8, 9)]
    >>> timed_words(["A", "B", "|", "A"], frames, 0.5, letters=True).words
    (Word(word='AB', start=0.0, end=2.0), Word(word='A', start=4.0, end=4.5))
    >>> timed_words(["A", "|", "|", "A"], frames, 0.5, letters=True).text
    'A  A'
    """
    words: list[Word] = []
    inside = False
    for symbol, (first, behind) in zip(symbols, frames, strict=True):
        if not symbol or (letters and symbol == BOUNDARY):
            inside = inside and symbol != BOUNDARY
            continue
        start, end = round(first * seconds, 3), round(behind * seconds, 3)
        if inside:
            before = words.pop()
            words.append(Word(before.word + symbol, before.start, end))
        else:
            words.append(Word(symbol, start, end))
        inside = letters
    text = "".join(symbols).replace(BOUNDARY, " ").strip() if letters else " ".join(filter(None, symbols))
    return Transcript(tuple(words), text)
