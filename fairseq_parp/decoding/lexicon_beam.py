"""CTC beam search over the words of a lexicon with an n-gram language model: flashlight-text's, as a decoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding.decoder import NEG_INF, Hypothesis
from fairseq_parp.decoding.lexicon import Entry
from fairseq_parp.errors import MissingToolError, first_line

logger = logging.getLogger(__name__)

THRESHOLD = 25.0
"""How far behind the best beam one may fall, in natural logarithms, before it is given up; fairseq's default."""


@dataclass(frozen=True)
class Lexicon:
    """Words with their spellings, and a language model that knows each word by its place in ``words``.

    Attributes:
        words: each word once.
        entries: every spelling of every word.
        shown: for each word the labels of its output, for every spelling.
        model: flashlight's ``KenLM``, its scores log10.
        symbols: how many symbols there are.
        blank: number of the blank.
        boundary: number of the word boundary, with which every spelling ends.
    """

    words: Sequence[str]
    entries: Sequence[Entry]
    shown: Sequence[tuple[int, ...]]
    model: Any
    symbols: int
    blank: int
    boundary: int


@dataclass(frozen=True)
class LexiconBeamDecoder:
    """Finds sequences of the lexicon's words; every hypothesis is the words as they are written, joined.

    A score is the log-probability of the best alignment, plus ``weight`` x log10 of the language model's
    probability of the sentence with its end, plus ``word_score`` for each word. (Prefix beam search without a
    language model adds up all alignments.)

    The end of an utterance is the end of a word: a last boundary that the audio does not have starts at the
    frame behind the last one, at no cost. Boundaries at the beginning, and repeated ones, are silence and no
    labels. If no word fits into the audio, the beam ends inside of words; those unfinished words are left out.

    The positional score of a label is that of the best alignment's frames from its start to the next label's
    start; frames before the first label count to it. A word's last label carries the word's language model
    score and word score as well, the last one of all the end of the sentence. Where the word was found by another
    spelling than it is written in, its written labels share its score equally and its frames evenly.

    Attributes:
        lexicon: the words and the language model.
        beam: hypotheses kept after each frame, at least 1.
        nbest: most hypotheses per utterance, 1 to ``beam``; fewer when fewer are in the beam.
        weight: weight of the language model's log10 probabilities; 2.303 times that of natural logarithms.
        word_score: added for each word.
        threshold: see ``THRESHOLD``.
    """

    lexicon: Lexicon
    beam: int
    nbest: int = 1
    weight: float = 2.0
    word_score: float = -1.0
    threshold: float = THRESHOLD

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch, on the CPU; see :meth:`Decoder.search`.

        An utterance in which nothing is possible gets the empty hypothesis with score -inf, and a warning is logged.
        """
        batch = zip(log_probs.float().cpu(), lengths.tolist(), strict=True)
        return [self._best(self._with_end(frames[:length])) for frames, length in batch]

    def _with_end(self, frames: Tensor) -> Tensor:
        """Put the end behind an utterance's frames (T, C): a frame that is a blank or a word boundary for sure."""
        end = frames.new_full((1, frames.size(1)), NEG_INF)
        end[0, [self.lexicon.blank, self.lexicon.boundary]] = 0.0
        return torch.cat((frames, end)).contiguous()

    def _best(self, frames: Tensor) -> list[Hypothesis]:
        """Decode one utterance and its end, (T + 1, C)."""
        found: dict[tuple[int, ...], Hypothesis] = {}
        for result in self._flashlight.decode(frames.data_ptr(), *frames.shape):
            if result.score > NEG_INF and len(found) < self.nbest:
                hypothesis = self._hypothesis(frames, result)
                found.setdefault(tuple(hypothesis.tokens.tolist()), hypothesis)
        if not found:
            logger.warning("an utterance's text is empty: no sentence that the beam holds has a probability above 0")
            nothing = torch.zeros(0, dtype=torch.long)
            return [Hypothesis(nothing, NEG_INF, nothing.double(), nothing)]
        return list(found.values())

    def _hypothesis(self, frames: Tensor, result: Any) -> Hypothesis:
        """Translate one of flashlight's results: a symbol for each frame, a word where its boundary starts."""
        path, words = (torch.tensor(each[1:-1]) for each in (result.tokens, result.words))
        ends = words >= 0
        starts = (path != self.lexicon.blank) & (path != pad(path, (1, 0), value=self.lexicon.blank)[:-1])
        starts &= (path != self.lexicon.boundary) | ends
        starts &= ends.flip(0).cumsum(0).flip(0) > 0  # letters after the last word's end are unfinished
        at = starts.nonzero()[:, 0]
        positional = torch.zeros(len(at), dtype=torch.float64)
        if len(at):
            owner = (starts.cumsum(0) - 1).clamp(min=0)
            positional.index_add_(0, owner, frames.gather(1, path[:, None])[:, 0].double())
            positional[owner[ends]] += self._word_scores(words[ends].tolist())
            positional[-1] += result.score - positional.sum()
        return self._as_written(Hypothesis(path[at], result.score, positional, at), words[at])

    def _as_written(self, found: Hypothesis, words: Tensor) -> Hypothesis:
        """Replace spellings by the words' own; ``words`` (N,) has a word at its last label, below 0 elsewhere."""
        ends = (words >= 0).nonzero()[:, 0] + 1
        sizes = ends.diff(prepend=ends.new_zeros(1)).tolist()
        parts = [part.split(sizes) for part in (found.tokens, found.positional_scores, found.frames)]
        written: list[tuple[Tensor, Tensor, Tensor]] = []
        for number, tokens, scores, frames in zip(words[ends - 1].tolist(), *parts, strict=True):
            own = torch.tensor(self.lexicon.shown[number])
            if not torch.equal(own, tokens):
                scores = (scores.sum() / len(own)).repeat(len(own))
                frames = torch.linspace(int(frames[0]), int(frames[-1]), len(own)).long()
            written.append((own, scores, frames))
        if not written:
            return found
        tokens, scores, frames = (torch.cat(part) for part in zip(*written, strict=True))
        return Hypothesis(tokens, found.score, scores, frames)

    def _word_scores(self, words: Sequence[int]) -> Tensor:
        """Return the score of each word of a sentence, without the sentence's end."""
        state, scores = self.lexicon.model.start(False), []
        for word in words:
            state, score = self.lexicon.model.score(state, word)
            scores.append(self.weight * score + self.word_score)
        return torch.tensor(scores, dtype=torch.float64)

    @cached_property
    def _flashlight(self) -> Any:
        """Flashlight's decoder."""
        flashlight = import_flashlight()
        options = flashlight.LexiconDecoderOptions(
            beam_size=self.beam,
            beam_size_token=self.lexicon.symbols,
            beam_threshold=self.threshold,
            lm_weight=self.weight,
            word_score=self.word_score,
            unk_score=NEG_INF,
            sil_score=0.0,
            log_add=False,
            criterion_type=flashlight.CriterionType.CTC,
        )
        words = self.lexicon
        unknown = len(words.words)  # with unk_score -inf it never comes up
        return flashlight.LexiconDecoder(
            options, self._tree(flashlight), words.model, words.boundary, words.blank, unknown, [], False
        )

    def _tree(self, flashlight: Any) -> Any:
        """Put all spellings into a tree; a beginning of words promises the best of their first scores."""
        words = self.lexicon
        tree = flashlight.Trie(words.symbols, words.boundary)
        place = {word: place for place, word in enumerate(words.words)}
        scores = [first_score(words.model, number) for number in range(len(words.words))]
        for word, spelling in words.entries:
            tree.insert(list(spelling), place[word], scores[place[word]])
        tree.smear(flashlight.SmearingMode.MAX)
        return tree


def first_score(model: Any, word: int) -> float:
    """Return log10 of a word's probability at the beginning of a sentence, or by its 1-gram where that is 0.

    A word of probability 0 at the beginning may come later; the tree of spellings must not promise it -inf.
    """
    scores = (float(model.score(model.start(nothing), word)[1]) for nothing in (False, True))
    return next((score for score in scores if score > NEG_INF), NEG_INF)


def import_flashlight() -> Any:
    """Import flashlight's decoder and, with it, its KenLM.

    Raises:
        MissingToolError: it is not installed, or does not import.
    """
    try:
        from flashlight.lib.text import decoder
        from flashlight.lib.text.decoder import kenlm  # noqa: F401 (the name may be a module without it)
    except ImportError as error:
        raise MissingToolError(
            f"a language model needs flashlight-text: pip install flashlight-text ({first_line(error)})"
        ) from error
    return decoder
