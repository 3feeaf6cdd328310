"""Pictures for spoken strings of digits: the digits of an utterance in handwriting, in the order of the words.

The handwriting is ``load_digits`` of scikit-learn, which fairseq requires: E. Alpaydin and C. Kaynak, CC BY 4.0.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_parp.errors import ConfigError, ManifestError, MissingToolError, absolute, listing
from fairseq_parp.files import write_whole
from fairseq_parp.manifests.sources import read_corpus
from fairseq_parp.manifests.transcripts import TranscriptRow

if TYPE_CHECKING:
    from PIL.Image import Image

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VALUES = {word: value for value, word in enumerate(WORDS)} | {"oh": 0}
"""Digits by word."""

SIDE, ACROSS = 224, 4
"""Pixels of a picture's sides, and places in a row and in a column."""

CELL = SIDE // ACROSS
INK = CELL - 8
"""Pixels of the sides of a place, and of the digit in it."""

HELD_OUT = 4
"""The unseen split alone has one of this number of parts of the handwriting."""

ATTRIBUTION = (
    "Handwriting: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). Enlarged and placed in strings."
)

HEAD = ("path", "text", "split", "speaker", "start", "end", "image")


def digits_of(text: str) -> tuple[int, ...]:
    """Return the digits that a text consists of; none where another word is in it.

    >>> digits_of("ONE OH seven"), digits_of("ONE HUNDRED")
    ((1, 0, 7), ())
    """
    words = text.lower().split()
    return tuple(VALUES[word] for word in words) if VALUES.keys() >= set(words) else ()


def write_digits(
    corpus: str | Path, out: str | Path, *, unseen: str = "test", count: int | None = None, seed: int = 1
) -> dict[str, int]:
    """Draw a picture for every utterance of a corpus that is a string of digits.

    ``out/pictures`` has the pictures, and ``out/transcripts.tsv`` the utterances, as ``fairseq-parp manifest table``
    reads them; the paths of the audio are those of the corpus. No other split has a string or handwriting of the split
    ``unseen``.

    Args:
        corpus: path of a corpus in a form that :func:`~fairseq_parp.manifests.sources.read_corpus` reads.
        out: folder to write to.
        unseen: split whose strings are left out of the others.
        count: keep strings of this number of digits only.
        seed: seed of the choice of handwriting.

    Returns:
        the number of utterances by split.

    Raises:
        ManifestError: the corpus cannot be read, or a string has more digits than a picture has places.
        ConfigError: it has no such split or no string of digits, or ``out`` has pictures.
        MissingToolError: Pillow or scikit-learn is not installed.
    """
    read = read_corpus(Path(corpus), None)
    if read.problems:
        raise ManifestError(read.problems)
    rows = _kept(read.rows, absolute(corpus), unseen, count)
    pictures = Path(out, "pictures")
    if pictures.exists() and any(pictures.iterdir()):
        raise ConfigError("--out", absolute(out), "has pictures in it; name another folder, or remove it first")
    draw, lines = random.Random(seed), ["\t".join(HEAD)]
    for number, row in enumerate(rows):
        string = digits_of(row.text)
        image = f"{row.split}/{number:05}-{''.join(map(str, string))}.png"
        picture = _drawn([draw.choice(_handwriting(row.split == unseen)[digit]) for digit in string])
        (pictures / image).parent.mkdir(parents=True, exist_ok=True)
        picture.save(pictures / image)
        times = ("" if each is None else f"{each:f}" for each in (row.start, row.end))
        lines.append("\t".join((row.path, row.text, row.split, row.speaker, *times, image)))
    write_whole(pictures / "ATTRIBUTION.txt", f"{ATTRIBUTION}\n".encode())
    write_whole(Path(out, "transcripts.tsv"), ("\n".join(lines) + "\n").encode())
    return dict(Counter(row.split for row in rows))


def _kept(rows: Sequence[TranscriptRow], corpus: str, unseen: str, count: int | None) -> list[TranscriptRow]:
    """Return the strings of digits, without those of the other splits that the unseen one has."""
    splits = dict.fromkeys(row.split for row in rows)
    if unseen not in splits:
        raise ConfigError("--unseen", unseen, f"must be a split of {corpus}: {listing(splits)}")
    strings = {row.place: digits_of(row.text) for row in rows}
    held = {strings[row.place] for row in rows if row.split == unseen}
    kept = [row for row in rows if strings[row.place] and (row.split == unseen or strings[row.place] not in held)]
    if long := [row for row in kept if len(strings[row.place]) > ACROSS**2]:
        most = f"a picture has {ACROSS**2} places"
        raise ManifestError([f"{row.place}: has {len(strings[row.place])} digits; {most}" for row in long])
    if count is not None:
        numbers = sorted({len(strings[row.place]) for row in kept})
        kept = [row for row in kept if len(strings[row.place]) == count]
        if not kept:
            raise ConfigError("--digits", count, f"must be a number of digits in {corpus}: {listing(numbers)}")
    if not kept:
        raise ManifestError(
            [f"{corpus}: no utterance is a string of digits; the words of one are {listing(VALUES, 11)}"]
        )
    return kept


@cache
def _handwriting(unseen: bool) -> dict[int, list[Any]]:
    """Return arrays (8, 8) from 0 (paper) to 16 (ink) by digit: those of the unseen split, or those of the others."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingToolError(f"handwritten digits need scikit-learn: pip install scikit-learn ({error})") from None
    data = load_digits()
    first_held = len(data.target) - len(data.target) // HELD_OUT
    part = slice(first_held, None) if unseen else slice(first_held)
    return {digit: list(data.images[part][data.target[part] == digit]) for digit in range(10)}


def _drawn(digits: Sequence[Any]) -> Image:
    """Return a picture of arrays (8, 8), from left to right and from top to bottom, dark on white."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingToolError(f"pictures need Pillow: pip install 'fairseq_parp[grounded]' ({error})") from None
    picture = Image.new("L", (SIDE, SIDE), "white")
    for place, digit in enumerate(digits):
        ink = Image.fromarray(np.uint8(255 - 255 * digit / 16)).resize((INK, INK), Image.Resampling.BICUBIC)
        row, column = divmod(place, ACROSS)
        picture.paste(ink, (column * CELL + (CELL - INK) // 2, row * CELL + (CELL - INK) // 2))
    return picture.convert("RGB")
