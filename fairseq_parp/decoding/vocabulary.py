"""The words that an n-gram language model knows, read from its file."""

from __future__ import annotations

import gzip
import mmap
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from pathlib import Path

from fairseq_parp.errors import LanguageModelError, listing

SPECIAL = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
"""What stands among a language model's words and is none."""

_BINARY = b"mmap lm http://kheafield.com/code format version"
_FIRST = b"<unk>\0"
_COUNT = struct.Struct("<Q")
_COUNT_AT = 108  # behind KenLM's header (88 bytes) and its five fixed parameters (4 bytes each)
_GZIP = b"\x1f\x8b"
_SECTION = re.compile(rb"\\1-grams:\s*")


def words_of(path: str | Path) -> list[str]:
    """Return the words of an ARPA file (plain or gzip) or of a binary made by KenLM, without ``SPECIAL``.

    Raises:
        LanguageModelError: no such file, neither format, no words, a word twice, not UTF-8, or a binary that is cut
            off or was built without its words (``build_binary -v``).
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(len(_BINARY))
            words = _binary_words(path, file.fileno()) if head == _BINARY else list(_arpa_words(path, head))
        decoded = [word.decode() for word in words]
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


def _binary_words(path: str | Path, descriptor: int) -> list[bytes]:
    """Return what a KenLM binary ends with: its words, each with a zero byte behind it, ``<unk>`` first."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        start = content.rfind(_FIRST)
        (count,) = _COUNT.unpack_from(content[_COUNT_AT : _COUNT_AT + _COUNT.size].ljust(_COUNT.size))
        words = content[start:].split(b"\0")[:-1] if start >= 0 else []
    if len(words) < count:
        raise LanguageModelError(path, "a KenLM binary without its words: cut off, or made by build_binary -v")
    return words
