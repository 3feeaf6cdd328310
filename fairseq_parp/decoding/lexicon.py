"""How words are spelled in a model's labels: from a lexicon file, or by their letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fairseq_parp.errors import ConfigError, LanguageModelError, absolute, listing
from fairseq_parp.kinds import unreadable

BOUNDARY = "|"
"""The label that ends each word; fairseq's ltr files write it so."""

HOMOGRAPHS = 6
"""Words that flashlight can distinguish at one spelling; it drops further ones."""


class Dictionary(Protocol):
    """The part of ``fairseq.data.Dictionary`` that spelling needs."""

    symbols: Sequence[str]
    nspecial: int
    """The first symbols are ``<s>``, ``<pad>``, ``</s>``, ``<unk>``, which no spelling may hold."""


class Entry(NamedTuple):
    """A word and one of its spellings, as symbol numbers; the last is the word boundary."""

    word: str
    spelling: tuple[int, ...]


class UnknownLabelError(ValueError):
    """A spelling has a label that the model does not have."""


class Speller:
    """Turns labels into symbol numbers."""

    def __init__(self, dictionary: Dictionary) -> None:
        """Store the labels.

        Raises:
            ConfigError: the labels have no word boundary.
        """
        first = dictionary.nspecial
        self._numbers = {symbol: first + place for place, symbol in enumerate(dictionary.symbols[first:])}
        if BOUNDARY not in self._numbers:
            found = listing(self._numbers, most=20)
            raise ConfigError("labels", found, f"a language model needs the word boundary {BOUNDARY} among the labels")
        self.boundary = self._numbers[BOUNDARY]

    def spell(self, labels: Sequence[str]) -> tuple[int, ...]:
        """Return the numbers of a spelling.

        Raises:
            UnknownLabelError: it has an unknown label.
            ValueError: it does not end in its only word boundary, or is nothing else.
        """
        if unknown := [label for label in labels if label not in self._numbers]:
            raise UnknownLabelError(f"not among the model's labels: {listing(dict.fromkeys(unknown))}")
        if len(labels) < 2 or labels[-1] != BOUNDARY or BOUNDARY in labels[:-1]:
            raise ValueError(f"a spelling must be labels and then one {BOUNDARY}")
        return tuple(self._numbers[label] for label in labels)


def spelled_by_letters(words: Iterable[str], speller: Speller) -> tuple[list[Entry], list[str]]:
    """Spell words by their letters; return the entries, and the words that have other characters."""
    entries, left = [], []
    for word in dict.fromkeys(words):
        try:
            entries.append(Entry(word, speller.spell([*word, BOUNDARY])))
        except ValueError:
            left.append(word)
    return entries, left


def shown_spellings(words: Iterable[str], entries: Iterable[Entry], speller: Speller) -> list[tuple[int, ...]]:
    """Return the labels that each word is written in: its letters, or else the first of its spellings."""
    shown = dict(reversed([(entry.word, entry.spelling) for entry in entries]))
    shown.update((entry.word, entry.spelling) for entry in spelled_by_letters(shown, speller)[0])
    return [shown[word] for word in words]


def read_lexicon(path: str | Path, speller: Speller) -> tuple[list[Entry], list[str]]:
    """Read ``WORD SPELLING`` lines, separated by tabs or spaces, such as ``AN<TAB>A N |``.

    A line with a word alone is spelled by its letters, so that a list of words is a lexicon, too. Empty lines are
    passed over.

    Returns:
        The entries, and the words of the lines that are left out: they have a label that the model does not have.

    Raises:
        LanguageModelError: no such file, not UTF-8 text, no words, or a line without the word boundary at its end, or
            with a word and spelling that were there before.
    """
    entries: dict[Entry, int] = {}
    left: list[str] = []
    for number, fields in _lines(path):
        at = f"{absolute(path)}:{number}"
        word, labels = fields[0], fields[1:] or [*fields[0], BOUNDARY]
        try:
            entry = Entry(word, speller.spell(labels))
        except UnknownLabelError:
            left.append(word)
            continue
        except ValueError as error:
            raise LanguageModelError(at, f"{word}: {error}") from None
        if entry in entries:
            raise LanguageModelError(at, f"{word}: the same word and spelling as in line {entries[entry]}")
        entries[entry] = number
    if not entries and not left:
        raise LanguageModelError(path, "has no words")
    _require_few_homographs(path, entries)
    return list(entries), left


def _lines(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line that is not empty."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LanguageModelError(path, unreadable(path, error)) from error
    return ((number, line.split()) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _require_few_homographs(path: str | Path, entries: Iterable[Entry]) -> None:
    """Refuse homographs that flashlight would silently drop."""
    for spelling, most in Counter(entry.spelling for entry in entries).most_common(1):
        if most <= HOMOGRAPHS:
            return
        words = listing(entry.word for entry in entries if entry.spelling == spelling)
        raise LanguageModelError(path, f"{most} words of one spelling ({words}); {HOMOGRAPHS} are allowed")
