"""Unit and word error rates of a file that fairseq-generate wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairseq_parp.errors import ConfigError, ParpError, absolute, listing
from fairseq_parp.kinds import unreadable
from fairseq_parp.manifests.labelling import with_marks
from fairseq_parp.scoring.rates import ErrorRate, error_rate

_LINE = re.compile(r"([TDHP])-(\d+)\t(.*)")
_LETTER = re.compile(r"<unk>|<pad>|.")
_PHONE = 2
"""Characters that the symbols of a reference have on average at the most, where they are phones."""


class ResultsError(ParpError):
    """A result file is missing, or is no output of fairseq-generate."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{absolute(path)}: {reason}")
        self.path, self.reason = absolute(path), reason


@dataclass(frozen=True)
class Utterance:
    """Errors of one utterance's best hypothesis.

    Attributes:
        reference: the units of its reference.
        units: errors in units; the total may be 0.
        words: errors in words; None if the symbols of the file have no word boundaries.
        empty: whether the hypothesis is empty.
    """

    reference: tuple[str, ...]
    units: ErrorRate
    words: ErrorRate | None
    empty: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Score:
    """Error rates of one result file; ``words`` is None if the symbols have no word boundaries.

    ``empty`` counts the utterances with an empty hypothesis: all of them, if the model emits only blanks.
    """

    utterances: int
    units: ErrorRate
    words: ErrorRate | None
    empty: int = field(default=0, compare=False)


@dataclass(frozen=True)
class _Results:
    """The lines of a result file, by utterance number; hypotheses are the best ones."""

    references: Mapping[int, str]
    hypotheses: Mapping[int, str]
    tokens: Mapping[int, int]  # as many as there are positional scores


def score_file(path: str | Path, units: str | None = None, *, fold_case: bool = False) -> Score:
    """Score the best hypothesis of every utterance; return the sums over :func:`score_utterances`.

    With ``fold_case`` capital and small letters are equal.

    Raises:
        ResultsError, ConfigError: as :func:`score_utterances`.
    """
    each = score_utterances(path, units, fold_case=fold_case).values()
    words = [utterance.words for utterance in each if utterance.words is not None]
    rates = _sum(utterance.units for utterance in each), _sum(words) if words else None
    return Score(len(each), *rates, sum(utterance.empty for utterance in each))


def score_utterances(path: str | Path, units: str | None = None, *, fold_case: bool = False) -> dict[int, Utterance]:
    """Score the best hypothesis of every utterance, by the utterance's number in its manifest.

    ``letters`` (decoded with ``--post-process letter``): lines are words. Their units are the
    characters, ``|`` for each space, and one ``|`` at the end of every line that is not empty, as
    in ltr files. ``symbols`` (no ``--post-process``): spaces separate units, and the word boundary ``|``
    separates words. There are no words if no reference has a boundary, or all consist of it.
    ``graphemes`` are letters with their combining marks, as ``manifest table --graphemes`` makes them.
    ``<unk>`` and ``<pad>`` are one unit each.

    In fairseq's own ``uer`` of a validation, predicted boundaries at the edges and ``</s>`` count;
    fairseq-generate does not print the one (``letters``) nor the other. With ``symbols``, and no
    ``</s>`` predicted, greedy ``uer`` and ``wer`` equal fairseq's exactly.

    Args:
        path: ``generate-SUBSET.txt`` of ``--results-path``, or fairseq-generate's standard output.
        units: ``letters``, ``graphemes`` or ``symbols``. By default symbols if a reference has the symbol ``|``;
            else the only kind that fits the number of positional scores (P- lines). If all hypotheses are empty, the
            references decide: short symbols between spaces are phones.
        fold_case: whether capital and small letters are equal.

    Raises:
        ResultsError: no such file, no references, all of them empty, or an utterance twice or
            without hypothesis.
        ConfigError: ``units`` has another value, or is not given and the file fits several.
    """
    results = _parse(path, _read(path))
    cut = _splitter(units or _units_of(results, path))

    def split(line: str) -> list[str]:
        return cut(line.casefold() if fold_case else line)

    pairs = {key: (split(text), split(results.hypotheses[key])) for key, text in results.references.items()}
    if not any(reference for reference, _ in pairs.values()):
        raise ResultsError(path, "every reference (T- line) is empty")
    references = [reference for reference, _ in pairs.values()]
    has_words = any("|" in each for each in references) and any(map(_words, references))
    return {
        key: Utterance(
            tuple(reference),
            error_rate(reference, hypothesis),
            error_rate(_words(reference), _words(hypothesis)) if has_words else None,
            not hypothesis,
        )
        for key, (reference, hypothesis) in pairs.items()
    }


def _read(path: str | Path) -> str:
    """Return the file's text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultsError(path, unreadable(path, error)) from error


def _parse(path: str | Path, text: str) -> _Results:
    """Sort the lines; the first hypothesis of an utterance is its best (``--nbest``)."""
    found: dict[str, dict[int, str]] = {kind: {} for kind in "TDHP"}
    # Not splitlines: it also cuts at characters that a transcript may hold.
    for kind, number, rest in (match.groups() for match in map(_LINE.fullmatch, text.split("\n")) if match):
        if kind == "T" and int(number) in found["T"]:
            raise ResultsError(path, f"T-{number} occurs twice")
        found[kind].setdefault(int(number), rest)
    # fairseq writes the unknown symbol of references in its own way, so that it never matches.
    references = {key: line.replace("<<unk>>", "<unk>") for key, line in found["T"].items()}
    hypotheses = {key: line.partition("\t")[2] for key, line in (found["D"] or found["H"]).items()}
    if not references:
        raise ResultsError(path, "has no references (T- lines); fairseq-generate writes them unless --quiet is given")
    if missing := sorted(references.keys() - hypotheses.keys()):
        raise ResultsError(path, f"no hypothesis (D- or H- line) for utterance {listing(missing)}")
    return _Results(references, hypotheses, {key: len(line.split()) for key, line in found["P"].items()})


def _units_of(results: _Results, path: str | Path) -> str:
    """Return whether the units are letters, graphemes or symbols; an error if the file fits several."""
    if any("|" in line.split() for line in results.references.values()):
        return "symbols"
    if not any(results.hypotheses.values()):
        pieces = [piece for line in results.references.values() for piece in line.split()]
        return "symbols" if sum(map(len, pieces)) <= _PHONE * len(pieces) else "letters"
    both = [(line, results.tokens[key]) for key, line in results.hypotheses.items() if key in results.tokens]
    # Boundaries at the edges are tokens that the text does not show.
    letters = all(len(_LETTER.findall(line)) <= tokens for line, tokens in both)
    graphemes = all(len(with_marks(_LETTER.findall(line))) <= tokens for line, tokens in both)
    symbols = all(len(line.split()) == tokens for line, tokens in both)
    if graphemes == symbols:  # a file that fits as letters fits as graphemes
        reason = f"{absolute(path)} fits letters and symbols alike, or neither; fairseq-parp score takes --units"
        raise ConfigError("--units", None, reason)
    return "symbols" if symbols else "letters" if letters else "graphemes"


def _splitter(units: str) -> Callable[[str], list[str]]:
    """Return the function that cuts a line into units."""
    if units == "letters":
        return _letters
    if units == "graphemes":
        return lambda line: with_marks(_letters(line))
    if units == "symbols":
        return str.split
    raise ConfigError("units", units, "must be letters, graphemes or symbols")


def _letters(line: str) -> list[str]:
    """Cut words into letters and word boundaries.

    >>> _letters("AN <unk>")
    ['A', 'N', '|', '<unk>', '|']
    """
    return ["|" if unit == " " else unit for unit in _LETTER.findall(line)] + ["|"] * bool(line)


def _words(units: list[str]) -> list[str]:
    """Join units to words, as fairseq's ``--post-process letter``."""
    return "".join(units).replace("|", " ").split()


def _sum(rates: Iterable[ErrorRate]) -> ErrorRate:
    return sum(rates, start=ErrorRate(0, 0, 0, 0))
