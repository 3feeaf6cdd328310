"""Converts text to labels: letters for ``.ltr``, phones for ``.phn``; and builds the dictionary of the labels.

Text is first put into Unicode's NFC form, so an e with an acute accent is one symbol in either spelling. Case and
punctuation do not change.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable

from fairseq_parp.manifests.reading import SPECIALS

BOUNDARY = "|"
"""Ends every word in letter labels; fairseq's ``--post-process letter`` turns it back into a space."""


def words(text: str) -> str:
    """Return the text in NFC with one space between words: a line of a ``.wrd`` file.

    >>> words("  HELLO   WORLD ")
    'HELLO WORLD'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def letters(text: str) -> str:
    """Return letter labels, one per code point, each word ended by ``|``.

    Raises:
        ValueError: the text has a ``|``, which would read as the end of a word.

    >>> letters("HELLO WORLD")
    'H E L L O | W O R L D |'
    """
    if BOUNDARY in text:
        raise ValueError(f"text has a {BOUNDARY!r}, which ends words in letter labels; replace it")
    return " ".join(" ".join([*word, BOUNDARY]) for word in words(text).split())


def graphemes(text: str) -> str:
    r"""Return letter labels in which a combining mark stays with the letter before it.

    Raises:
        ValueError: as :func:`letters`.

    >>> graphemes("ạ́ b").encode("unicode_escape").decode()
    '\\u1ea1\\u0301 | b |'
    """
    return " ".join(with_marks(letters(text).split()))


def with_marks(labels: Iterable[str]) -> list[str]:
    r"""Return letters, each with the combining marks that follow it.

    >>> [len(label) for label in with_marks("e\u0301t")]
    [2, 1]
    """
    together: list[str] = []
    for label in labels:
        if together and together[-1] != BOUNDARY and unicodedata.category(label[0]).startswith("M"):
            together[-1] += label
        else:
            together.append(label)
    return together


def phones(text: str) -> str:
    """Return phone labels: the text is phones already, with spaces between them.

    Raises:
        ValueError: one of them is a symbol of fairseq's own.

    >>> phones("h ə l oʊ")
    'h ə l oʊ'
    """
    if own := sorted(set(text.split()) & set(SPECIALS)):
        raise ValueError(f"phone {own[0]!r} is fairseq's own symbol; use another")
    return words(text)


CLASS = "label"
"""Kind of the labels of whole utterances, such as speakers."""


def one_label(text: str) -> str:
    """Return the label of a whole utterance.

    Raises:
        ValueError: it has a space, at which fairseq would split it, or is a symbol of fairseq's own.

    >>> one_label("nl")
    'nl'
    """
    label = unicodedata.normalize("NFC", text)
    if label.split() != [label]:
        raise ValueError(f"label {text!r} has a space; write {'_'.join(text.split())!r}")
    if label in SPECIALS:
        raise ValueError(f"label {label!r} is fairseq's own symbol; use another")
    return label


LABELLERS = {"ltr": letters, "phn": phones, CLASS: one_label}
"""Label kinds, as in ``task.labels`` and in the files' names, and the functions that make them from a text."""

SPELT = ("ltr", "phn")
"""Kinds whose labels spell a text."""


def dictionary(labels: Iterable[str]) -> dict[str, int]:
    """Count the symbols of label lines, in fairseq's order: most frequent first, ties by code point.

    >>> dictionary(["B A |", "A |"])
    {'A': 2, '|': 2, 'B': 1}
    """
    counts = Counter(symbol for line in labels for symbol in line.split())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
