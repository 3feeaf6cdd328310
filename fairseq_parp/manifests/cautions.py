"""Warnings about labels and names of splits that are allowed but often unintended."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

from fairseq_parp.errors import listing
from fairseq_parp.manifests.labelling import CLASS

USUAL = {"train": "dataset.train_subset", "valid": "dataset.valid_subset"}
OTHER_NAMES = {"training": "train", "dev": "valid", "val": "valid", "validation": "valid", "eval": "valid"}

LONG_WORD = 10
"""Letters that distinguish a corpus of single words from one of utterances without spaces."""
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""First words of the names of letters whose scripts have no spaces between words."""


def cautions(splits: Collection[str], labels: str, symbols: Iterable[str], texts: Iterable[str]) -> list[str]:
    """Return a line for each.

    Args:
        splits: their names.
        labels: the ending of the label files.
        symbols: the dictionary.
        texts: the utterances' words, where the labels are letters.
    """
    found = [*_of_splits(splits)]
    if labels == "ltr":
        letters = list(symbols)
        found += [*_of_letters(letters), *_of_words(letters, texts)]
    elif labels == CLASS:
        found += of_classes(symbols)
    return found  # phones may be anything


def of_classes(names: Iterable[str]) -> list[str]:
    """Return a line for each group of classes that a reader may take for one."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_look(name), []).append(name)
    reason = "differ in case or in their encoding alone; each is a class of its own"
    return [f"labels {listing(map(ascii, group))} {reason}" for group in alike.values() if len(group) > 1]


def _look(name: str) -> str:
    """Return a name without case, compatibility forms and invisible characters."""
    visible = (letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", "".join(visible)).casefold()


def _of_splits(splits: Collection[str]) -> Iterator[str]:
    for name in splits:
        if name in OTHER_NAMES:
            usual = OTHER_NAMES[name]
            yield f"split {name!r}: most recipes read {usual!r}; name it to them with {USUAL[usual]}={name}"
    if not {"valid", *(name for name, usual in OTHER_NAMES.items() if usual == "valid")} & set(splits):
        yield "no valid split, which a training needs: --valid-minutes M or --valid-speakers A,B takes one from train"


def _of_letters(letters: Collection[str]) -> Iterator[str]:
    kinds: Mapping[str, tuple[str, str]] = {
        "M": ("combining marks are labels of their own", "--graphemes keeps each with its letter"),
        "N": ("digits are labels", "write spoken digits as words"),
        "PS": ("punctuation is among the labels", "remove it unless it is spoken"),
        "Cf": ("invisible characters are labels", "remove them: zero-width spaces and joiners, soft hyphens"),
    }
    for kind, (what, way_out) in kinds.items():
        found = [x for x in letters if x not in "|'" and _is(x[0], kind)]
        if found:
            yield f"{what}: {listing(map(_shown, found), most=12)}; {way_out}"
    both = [x for x in letters if x != x.lower() and x.lower() in letters]
    if both:
        pairs = listing((f"{x.lower()} {x}" for x in both), most=12)
        yield f"case is mixed: {pairs} are two labels each; write all text in one case"


def _is(character: str, kind: str) -> bool:
    category = unicodedata.category(character)
    return category == kind or (category[0] in kind and kind != "Cf")


def _of_words(letters: Collection[str], texts: Iterable[str]) -> Iterator[str]:
    lines = list(texts)
    unspaced = any(unicodedata.name(letter[0], "").startswith(UNSPACED) for letter in letters)
    long = unspaced or sum(map(len, lines)) > LONG_WORD * len(lines)
    if letters and long and not any(" " in line for line in lines):
        yield "no text has a space, so a word is a whole utterance: read UER, not WER"


def _shown(letter: str) -> str:
    """Return a letter as it can be seen: combining and invisible ones by code point and name."""
    if unicodedata.category(letter[0])[0] in "MC":
        return " ".join(f"U+{ord(x):04X} {unicodedata.name(x, '')}".strip() for x in letter)
    return repr(letter)
