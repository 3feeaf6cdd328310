"""An n-gram language model for decoding: the user's settings, and the decoder that they give."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fairseq_parp.decoding.lexicon import Dictionary as Labels
from fairseq_parp.decoding.lexicon import Entry, Speller, read_lexicon, shown_spellings, spelled_by_letters
from fairseq_parp.decoding.lexicon_beam import Lexicon, LexiconBeamDecoder, first_score, import_flashlight
from fairseq_parp.decoding.vocabulary import SPECIAL, is_binary, words_of
from fairseq_parp.errors import ConfigError, LanguageModelError, listing

logger = logging.getLogger(__name__)

BEAM = 50
"""The beam to start with."""

_NAMES = {"lexicon": "lexicon", "weight": "LM weight", "word_score": "word score"}


class Dictionary(Labels, Protocol):
    """The part of ``fairseq.data.Dictionary`` that a search over words needs."""

    def bos(self) -> int:
        """Return the index of ``<s>``, the blank."""
        ...


@dataclass(frozen=True)
class LanguageModel:
    """A word n-gram language model and its weights.

    Attributes:
        path: ARPA file (plain or gzip), or a binary of KenLM's ``build_binary``, which needs ``lexicon``.
        lexicon: file of the words and their spellings; by default every word of ``path`` is spelled by its letters.
        weight: weight of log10 probabilities. For natural logarithms, as pyctcdecode's ``alpha``, divide by 2.303.
        word_score: added for each word, in natural logarithms.
    """

    path: str | Path
    lexicon: str | Path | None = None
    weight: float = 2.0
    word_score: float = -1.0

    def __post_init__(self) -> None:
        """Refuse values that no search can use.

        Raises:
            ConfigError: the weight is not a number from 0, or the word score no finite number.
        """
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ConfigError(_NAMES["weight"], self.weight, "must be a number, 0 or more")
        if not math.isfinite(self.word_score):
            raise ConfigError(_NAMES["word_score"], self.word_score, "must be a finite number")

    @classmethod
    def if_named(
        cls, path: str | None, lexicon: str | None, weight: float | None, word_score: float | None
    ) -> LanguageModel | None:
        """Return the language model of the options, or None; a number that is None gets its default.

        Raises:
            ConfigError: another option of it is set without a file; or as the constructor.
        """
        options: dict[str, Any] = {"lexicon": lexicon or None, "weight": weight, "word_score": word_score}
        given = {name: value for name, value in options.items() if value not in (None, getattr(cls, name))}
        if path:
            return cls(path, **given)
        for name, value in given.items():
            raise ConfigError(_NAMES[name], value, "is for a language model, and none is given")
        return None

    def decoder(self, dictionary: Dictionary, beam: int, nbest: int = 1) -> LexiconBeamDecoder:
        """Load the files and make the decoder.

        Args:
            dictionary: dictionary of the labels; ``<s>`` is the blank, ``|`` the word boundary.
            beam: hypotheses kept after each frame.
            nbest: hypotheses to return for each utterance.

        Raises:
            MissingToolError: flashlight-text is not installed.
            LanguageModelError: a file is missing or damaged, or no word can be spelled.
            ConfigError: ``beam`` is below 2, ``nbest`` not from 1 to it, or the labels have no word boundary.
        """
        if beam < 2:
            raise ConfigError("beam", beam, f"a language model needs a beam, 2 or more; {BEAM} is usual")
        if not 1 <= nbest <= beam:
            raise ConfigError("nbest", nbest, f"must be from 1 to beam, which is {beam}")
        import_flashlight()
        speller = Speller(dictionary)
        entries = self._entries(speller)
        words = list(dict.fromkeys(entry.word for entry in entries))
        model = self._load(words)
        self._require_possible(model, words)
        shown = shown_spellings(words, entries, speller)
        known = Lexicon(words, entries, shown, model, len(dictionary.symbols), dictionary.bos(), speller.boundary)
        return LexiconBeamDecoder(known, beam, nbest, self.weight, self.word_score)

    def _entries(self, speller: Speller) -> list[Entry]:
        """Return the words that can be found: those that the lexicon spells and the language model knows."""
        lost = []
        if self.lexicon is None:
            entries, foreign = spelled_by_letters(words_of(self.path), speller)
        else:
            every, left = read_lexicon(self.lexicon, speller)
            spelled = {entry.word for entry in every}
            foreign = [word for word in left if word not in spelled]
            if others := [word for word in left if word in spelled]:
                logger.warning(
                    f"{self.lexicon}: spellings in labels that the model lacks are left out: {listing(others)}"
                )
            words = self._known(list(dict.fromkeys(entry.word for entry in every)))
            entries = [entry for entry in every if entry.word in words]
            if unknown := list(dict.fromkeys(entry.word for entry in every if entry.word not in words)):
                lost.append(f"{len(unknown)} words of {self.lexicon} are unknown to it: {listing(unknown)}")
        if foreign:
            where = f" of {self.lexicon}" if self.lexicon else ""
            lost.append(f"{len(foreign)} words{where} cannot be spelled in the model's labels: {listing(foreign)}")
        if not entries:
            raise LanguageModelError(self.path, f"no word can be found, as {' and '.join(lost)}")
        for why in lost:
            logger.warning(f"{self.path}: {why}; they will never be found")
        return entries

    def _known(self, words: list[str]) -> set[str]:
        """Return those of the words that the language model knows.

        KenLM hides the words of a binary, and gives each unknown word the probability of ``<unk>`` and no back-off. A
        word that it gives the same, alone and before the end of a sentence, counts as unknown.
        """
        if not is_binary(self.path):
            return set(words_of(self.path))
        model = self._load(words)

        def scores(number: int) -> tuple[float, float]:
            state, score = model.score(model.start(False), number)
            return score, model.finish(state)[1]

        unknown = scores(len(words))
        return {word for number, word in enumerate(words) if word not in SPECIAL and scores(number) != unknown}

    def _require_possible(self, model: Any, words: list[str]) -> None:
        """Check that sentences can begin and end and that words have a probability: KenLM loads probabilities of 0.

        Raises:
            LanguageModelError: the 1-gram ``</s>`` has probability 0, or every word has: everywhere, after ``<s>`` or
                before ``</s>``.
        """
        beginning, anywhere = model.start(False), model.start(True)
        if model.finish(anywhere)[1] == -math.inf:
            raise LanguageModelError(self.path, "the 1-gram </s> has probability 0 (-inf): no sentence could end")
        ends = [model.finish(model.score(anywhere, number)[0])[1] for number in range(len(words))]
        never = {word for number, word in enumerate(words) if first_score(model, number) == -math.inf}
        impossible = {
            "": never,
            " after <s>": {word for number, word in enumerate(words) if model.score(beginning, number)[1] == -math.inf},
            " before </s>": {word for word, score in zip(words, ends, strict=True) if score == -math.inf},
        }
        for where, some in impossible.items():
            if some | never == set(words):
                raise LanguageModelError(self.path, f"every word has probability 0 (-inf){where}: {listing(words)}")
            if found := [word for word in words if word in some and (not where or word not in never)]:
                effect = f"they will never be found{' there' if where else ''}"
                logger.warning(f"{self.path}: {len(found)} words have probability 0{where}: {listing(found)}; {effect}")

    def _load(self, words: list[str]) -> Any:
        """Load the file into KenLM, which numbers words by their places."""
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary as Numbers

        try:
            with _silent():
                return KenLM(str(self.path), Numbers([*words, "<unk>"]))
        # KenLM's own exceptions arrive as RuntimeError; where it quotes bytes that are no text, as the other or, on
        # Python 3.10, without a text.
        except (RuntimeError, UnicodeDecodeError) as error:
            # Its last line is the reason, but for a line of the place alone.
            lines = [line for line in str(error).splitlines() if not re.fullmatch(r"\s*(Byte: \d+)?", line)]
            reason = lines[-1] if lines else "without a reason"
            raise LanguageModelError(self.path, f"KenLM cannot load it ({reason})") from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep KenLM's bar of stars off standard error, which C++ writes past Python's ``sys.stderr``."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
