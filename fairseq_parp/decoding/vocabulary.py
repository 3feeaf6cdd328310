"""The words that an n-gram language model knows, read from its file."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path

from fairseq_parp.errors import LanguageModelError, listing

SPECIAL = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
"""What stands among a language model's words and is none."""

_BINARY = b"mmap lm http://kheafield.com/code format version"
_GZIP = b"\x1f\x8b"
_SECTION = re.compile(rb"\\1-grams:\s*")


def is_binary(path: str | Path) -> bool:
    """Return whether a file is a binary of KenLM's ``build_binary``, by its first bytes.

    Raises:
        LanguageModelError: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_BINARY)) == _BINARY
    except OSError as error:
        raise LanguageModelError(path, f"cannot be read ({error.strerror})") from error


def words_of(path: str | Path) -> list[str]:
    """Return the words of an ARPA file (plain or gzip), without ``SPECIAL``.

    Raises:
        LanguageModelError: no such file, another format, no words, a word twice, not UTF-8, or a binary of KenLM.
    """
    if is_binary(path):
        raise LanguageModelError(path, "the words of a KenLM binary are not read; give --lexicon, or the ARPA file")
    try:
        with Path(path).open("rb") as file:
            head = file.read(len(_GZIP))
        decoded = [word.decode() for word in _arpa_words(path, head)]
    except UnicodeDecodeError as error:
        raise LanguageModelError(path, f"a word is not UTF-8 text ({error.object!r})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise LanguageModelError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    found = [word for word in decoded if word not in SPECIAL]
    if not found:
        raise LanguageModelError(path, "no language model that can be read here: neither ARPA nor a KenLM binary")
    if repeated := [word for word, count in Counter(decoded).items() if count > 1]:
        raise LanguageModelError(path, f"more than one 1-gram of {listing(repeated)}; keep one of each")
    return found


def _arpa_words(path: str | Path, head: bytes) -> Iterator[bytes]:
    """Yield the second field of every line of the section of 1-grams."""
    with gzip.open(path) if head.startswith(_GZIP) else Path(path).open("rb") as lines:
        inside = dropwhile(lambda line: not _SECTION.fullmatch(line), lines)
        next(inside, None)
        for line in takewhile(lambda line: not line.startswith(b"\\"), inside):
            yield from line.split()[1:2]
