"""Artificial CTC emissions of known text, like those of a finetuned wav2vec 2.0 for a few seconds of speech.

Nothing is needed but a seed. The text is two or three of the demo's sentences. As in the output of a CTC model, frames
(20 ms) are blank but for a peak of one or two at each letter, and a peak's place is all the timing there is. Logits are
normal noise of deviation 1 on every symbol, and on top of it

- in a frame between letters: 12 (deviation 2) on the blank; in one of ten such frames also 5 (3) on some letter;
- at a peak: 9 (2) on the letter; 3 (2.5) on each of three rivals that every letter has, because some letters sound
  alike in speech; 2 (2.5) on the blank. Both frames of a peak have the same values.

Nearly all frames between letters are therefore certain blanks, and at some letters a rival or the blank wins, so the
best path has errors.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.demo.sentences import sentences

ALPHABET = ["", " ", *"abcdefghijklmnopqrstuvwxyz'", "1", "2", "3"]
"""Text of each of the 32 symbols; the blank is first, and the last three are never meant, like fairseq's specials."""

_RIVALS, _SILENCE = 3, 8


@dataclass(frozen=True)
class Emissions:
    """Of each utterance the log-probabilities (T, C), single precision as a model gives them, and the text.

    ``alphabet`` has the text of each of the C symbols; the blank, which has none, is first, the space second.
    """

    log_probs: list[NDArray[np.float32]]
    texts: list[str]
    alphabet: Sequence[str]


def make(utterances: int, longest: int, seed: int = 0) -> Emissions:
    """Make ``utterances`` of at most ``longest`` frames; longer ones are cut, with their texts."""
    draw, noise = random.Random(seed), np.random.default_rng(seed)
    rivals = np.array([noise.permutation(len(ALPHABET) - 1)[:_RIVALS] + 1 for _ in ALPHABET])
    made = Emissions([], [], ALPHABET)
    for _ in range(utterances):
        text = " ".join(sentences(draw.choice((2, 3)), draw))
        log_probs, letters = _utterance([ALPHABET.index(letter) for letter in text], longest, rivals, noise)
        made.log_probs.append(log_probs)
        made.texts.append(text[:letters].strip())
    return made


def _utterance(
    labels: list[int], longest: int, rivals: NDArray[np.int64], noise: np.random.Generator
) -> tuple[NDArray[np.float32], int]:
    """Return log-probabilities, and how many labels there was room for."""
    widths, gaps = noise.integers(1, 3, len(labels)), noise.poisson(2.3, len(labels))
    gaps[:-1] += (np.diff(labels) == 0) & (gaps[:-1] == 0)  # a doubled label needs a blank between
    ends = _SILENCE + np.cumsum(widths + gaps)
    read = int((ends <= longest).sum())
    logits = noise.normal(size=(int(ends[read - 1]), len(ALPHABET)))
    blanks = np.full(len(logits), True)
    for label, width, start in zip(labels[:read], widths, ends - widths - gaps, strict=False):
        peak = slice(start, start + width)
        blanks[peak] = False
        logits[peak, label] += noise.normal(9, 2)
        logits[peak, rivals[label]] += noise.normal(3, 2.5, _RIVALS)
        logits[peak, 0] += noise.normal(2, 2.5)
    logits[blanks, 0] += noise.normal(12, 2, blanks.sum())
    stray = blanks & (noise.random(len(logits)) < 0.1)
    logits[stray, noise.integers(1, len(ALPHABET), stray.sum())] += noise.normal(5, 3, stray.sum())
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32), read
