"""Words of written captions as indices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PADDING, UNKNOWN = 0, 1
"""Indices before those of the words."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation.

    >>> words_of("A man's dog runs, again.")
    ['a', "man's", 'dog', 'runs', 'again']
    """
    return _WORD.findall(text.lower())


class Words:
    """A list of known words; every other word has one index in common.

    Attributes:
        known: the words, of which the first has the index 2.

    >>> words = Words.of(["a dog", "a cat", "a dog"], least=2)
    >>> words.known, words.encode("a cat"), len(words)
    (['a', 'dog'], [2, 1], 4)
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = list(known)
        self._index = {word: index for index, word in enumerate(self.known, UNKNOWN + 1)}

    @classmethod
    def of(cls, texts: Iterable[str], least: int) -> Words:
        """Return the words that occur at least this many times in texts, the most frequent first."""
        counts = Counter(word for text in texts for word in words_of(text))
        return cls([word for word in sorted(counts, key=lambda each: (-counts[each], each)) if counts[word] >= least])

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.known)

    def encode(self, text: str) -> list[int]:
        """Return the index of each word of a text."""
        return [self._index.get(word, UNKNOWN) for word in words_of(text)]
