"""The generator that fairseq-generate calls: samples in, hypotheses in fairseq's own form out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor

from fairseq_parp.decoding.compiled import fastest_search
from fairseq_parp.decoding.decoder import Decoder, Hypothesis
from fairseq_parp.decoding.encoder import CTCModel, encode
from fairseq_parp.decoding.greedy import GreedyDecoder
from fairseq_parp.decoding.language_model import LanguageModel
from fairseq_parp.decoding.options import refuse_foreign_options
from fairseq_parp.decoding.thresholds import USUAL_BEAM_THRESHOLDS, BeamThresholds
from fairseq_parp.errors import ConfigError


class Dictionary(Protocol):
    """The part of ``fairseq.data.Dictionary`` that decoding reads; a language model spells words in its symbols."""

    symbols: Sequence[str]
    nspecial: int

    def bos(self) -> int:
        """Return the index of ``<s>``, which fairseq's CTC criterion and models use as the blank."""
        ...

    def eos(self) -> int:
        """Return the index of ``</s>``."""
        ...


class FairseqHypothesis(TypedDict):
    """One hypothesis as ``fairseq_cli.generate`` reads it; logarithms natural, it divides by log 2."""

    tokens: Tensor
    score: float
    positional_scores: Tensor
    alignment: list[tuple[int, int]]
    attention: None


@dataclass(frozen=True)
class CTCGenerator:
    """Decodes a sample with one model, or with the mean probabilities of several.

    Attributes:
        decoder: finds the label sequences.
        symbols_to_strip_from_output: indices that fairseq leaves out of T-, H- and D- lines.
        stock_batches: as in :func:`encode`.
    """

    decoder: Decoder
    symbols_to_strip_from_output: frozenset[int]
    stock_batches: bool = False

    # Not inference_mode: fairseq-generate divides positional_scores in place, outside of it.
    @torch.no_grad()
    def generate(
        self,
        models: Sequence[CTCModel],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[FairseqHypothesis]]:
        """Decode every utterance of a sample.

        Args:
            models: the ensemble; put into evaluation mode.
            sample: fairseq's batch; ``net_input`` holds ``source`` (B, samples) and ``padding_mask``.
            prefix_tokens: must be None, as CTC decoding cannot start from given tokens.
            constraints: must be None.

        Returns:
            For each utterance at least one hypothesis, best first. ``alignment`` pairs the encoder
            frame at which a token starts with the token's position.

        Raises:
            ConfigError: ``prefix_tokens`` or ``constraints`` are given.
            DecodingError: the models disagree in frames or symbols, or an output is NaN.
        """
        for name, given in (("prefix_tokens", prefix_tokens), ("constraints", constraints)):
            if given is not None:
                raise ConfigError(name, "tensor", "CTC decoding takes none")
        log_probs, lengths = encode(models, sample, self.stock_batches)
        return [[_in_fairseq_form(one) for one in best] for best in self.decoder.search(log_probs, lengths)]


def build_decoder(blank: int, beam: int, nbest: int = 1, pruning: BeamThresholds = USUAL_BEAM_THRESHOLDS) -> Decoder:
    """Choose a decoder: greedy for ``beam`` 1, prefix beam search above, compiled if it can be.

    Raises:
        ConfigError: ``beam`` is below 1, or ``nbest`` outside 1 to ``beam``.
    """
    if beam < 1:
        raise ConfigError("beam", beam, "must be 1 (greedy) or more")
    if not 1 <= nbest <= beam:
        raise ConfigError("nbest", nbest, f"must be from 1 to beam, which is {beam}")
    return GreedyDecoder(blank) if beam == 1 else fastest_search()(blank, beam, nbest, pruning)


def build_generator(
    dictionary: Dictionary, args: object, lm: LanguageModel | None = None, stock_batches: bool = False
) -> CTCGenerator:
    """Make the generator that a task's ``build_generator`` returns.

    Args:
        dictionary: the task's target dictionary; ``<s>`` is the blank.
        args: fairseq's ``GenerationConfig``, or anything with some of its attributes.
        lm: language model; only words that it knows are found.
        stock_batches: as in :func:`encode`.

    Raises:
        ConfigError: ``beam`` or ``nbest`` is out of range, or an option is set that CTC decoding
            cannot honour.
        MissingToolError, LanguageModelError: as :meth:`LanguageModel.decoder`.
    """
    refuse_foreign_options(args)
    beam, nbest = getattr(args, "beam", 5), getattr(args, "nbest", 1)
    decoder = lm.decoder(dictionary, beam, nbest) if lm else build_decoder(dictionary.bos(), beam, nbest)
    # Only what Dictionary.string hides anyway. <unk> and <pad> stay visible: they are never in a
    # reference, so a model that emits them errs, and the error rate has to show it.
    return CTCGenerator(decoder, frozenset({dictionary.bos(), dictionary.eos()}), stock_batches)


def _in_fairseq_form(hypothesis: Hypothesis) -> FairseqHypothesis:
    """Translate one hypothesis."""
    return {
        "tokens": hypothesis.tokens,
        "score": hypothesis.score,
        "positional_scores": hypothesis.positional_scores,
        "alignment": [(frame, position) for position, frame in enumerate(hypothesis.frames.tolist())],
        "attention": None,
    }
