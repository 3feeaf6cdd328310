"""The interface of every CTC decoder, which a new one (language model, lexicon, compiled) implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NEG_INF = float("-inf")
"""The log-probability of an impossible event."""

STEPS_PER_NAT = 1 << 20
"""Log-probabilities are compared in steps of this fineness, about 1e-6."""


@dataclass(frozen=True)
class Hypothesis:
    """One label sequence for one utterance; N labels, logarithms natural.

    Attributes:
        tokens: (N,) int64, the labels, blanks and repetitions removed.
        score: total log-probability of the labels by this decoder, not normalised by length.
        positional_scores: (N,) float64, one per label, summing to ``score``. Without labels it is
            empty, and ``score`` still has its value.
        frames: (N,) int64, the encoder frame at which each label starts, increasing.
    """

    tokens: Tensor
    score: float
    positional_scores: Tensor
    frames: Tensor


def nothing_possible(device: torch.device) -> Hypothesis:
    """Return the hypothesis of an utterance in which no sequence is possible."""
    empty = torch.empty(0, dtype=torch.long, device=device)
    return Hypothesis(empty, NEG_INF, empty.double(), empty)


class Decoder(Protocol):
    """Finds the best label sequences of a batch."""

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch.

        Args:
            log_probs: (B, T, C) natural log-probabilities of each symbol, any float type, -inf allowed.
            lengths: (B,) frames that belong to each utterance, 0 to T; later frames are never read.

        Returns:
            For each utterance at least one hypothesis, best first, no label sequence twice.
        """
        ...


def comparable(log_probs: Tensor) -> Tensor:
    """Round to whole steps, so values that differ only by rounding errors are equal on every machine."""
    return (log_probs * STEPS_PER_NAT).round_()


def pad_with_blanks(log_probs: Tensor, lengths: Tensor, blank: int) -> Tensor:
    """Make every frame past an utterance's end a certain blank, so that decoders need no lengths.

    A certain blank changes neither the labels nor the probability of any path.

    Args:
        log_probs: (B, T, C) natural log-probabilities.
        lengths: (B,) frames of each utterance.
        blank: index of the blank symbol.

    Returns:
        (B, T, C) float64 copy: sums over thousands of frames lose digits in single precision.
    """
    frame = torch.arange(log_probs.size(1), device=log_probs.device)
    past_end = frame >= lengths.to(frame.device)[:, None]
    padded = log_probs.double().masked_fill(past_end[..., None], NEG_INF)
    padded[..., blank].masked_fill_(past_end, 0.0)
    return padded
