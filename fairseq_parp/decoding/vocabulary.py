"""The words that an n-gram language model knows, read from its file, and its n-grams, checked."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fairseq_parp.errors import LanguageModelError, absolute, listing
from fairseq_parp.kinds import unreadable

SPECIAL = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
"""Entries among a language model's words that are no words."""

LIMIT = 1000
"""Size of log10 probabilities and back-off weights from which on scores would lose their other digits."""

_BINARY = b"mmap lm http://kheafield.com/code format version"
_GZIP = b"\x1f\x8b"
_SECTION = re.compile(rb"\\(\d+)-grams:\s*")


def is_binary(path: str | Path) -> bool:
    """Return whether a file is a binary of KenLM's ``build_binary``, by its first bytes.

    Raises:
        LanguageModelError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_BINARY)) == _BINARY
    except OSError as error:
        raise LanguageModelError(path, unreadable(path, error)) from error


def words_of(path: str | Path) -> list[str]:
    """Return the words of an ARPA file (plain or gzip), without ``SPECIAL``.

    All its n-grams are checked: KenLM takes the first of two, and a number beyond every probability.

    Raises:
        LanguageModelError: no such file, another format, no words, an n-gram twice, a number below -``LIMIT`` other
            than -inf or above it, not UTF-8, or a binary of KenLM.
    """
    if is_binary(path):
        raise LanguageModelError(path, "the words of a KenLM binary are not read; give --lexicon, or the ARPA file")
    words: list[bytes] = []
    hashes = array("q")
    try:
        for number, order, fields in _entries(path):
            if large := _large(fields[:: order + 1]):
                ngram = b" ".join(fields[1 : order + 1]).decode(errors="replace")
                reason = f"{large.decode()} beside {ngram}: log10 of a probability is from -{LIMIT} to 0, or -inf for 0"
                raise LanguageModelError(f"{absolute(path)}:{number}", reason)
            hashes.append(hash(b" ".join(fields[1 : order + 1])))
            words += fields[1:2] if order == 1 else ()
        repeated = _repeated(path, hashes)
        found = [word for each in words if (word := each.decode()) not in SPECIAL]
    except UnicodeDecodeError as error:
        raise LanguageModelError(path, f"a word is not UTF-8 text ({error.object!r})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise LanguageModelError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not found:
        raise LanguageModelError(path, "no language model that can be read here: neither ARPA nor a KenLM binary")
    if repeated:
        raise LanguageModelError(path, f"more than one n-gram of {listing(repeated)}; keep one of each")
    return found


def _entries(path: str | Path) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield line number, order and fields of every n-gram."""
    with Path(path).open("rb") as file:
        head = file.read(len(_GZIP))
    order = 0
    with gzip.open(path) if head == _GZIP else Path(path).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.startswith(b"\\"):
                section = _SECTION.fullmatch(line)
                order = int(section[1]) if section else 0
            elif order and (fields := line.split()):
                yield number, order, fields


def _large(numbers: Iterable[bytes]) -> bytes:
    """Return a number so large that a sum with it loses other digits, or b""; KenLM reports other faults itself."""
    try:
        for number in numbers:
            if LIMIT < abs(float(number)) < math.inf:
                return number
    except ValueError:
        return b""
    return b""


def _repeated(path: str | Path, hashes: array[int]) -> list[str]:
    """Return the n-grams that are there more than once; a second pass compares the few whose hashes are equal."""
    import numpy as np

    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
    alike = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not alike:
        return []
    ngrams = (b" ".join(fields[1 : order + 1]) for _, order, fields in _entries(path))
    counts = Counter(ngram for ngram in ngrams if hash(ngram) in alike)
    return [ngram.decode() for ngram, count in counts.items() if count > 1]
