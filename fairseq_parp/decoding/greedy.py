"""Greedy CTC decoding: the single most probable path, its repetitions and blanks removed."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding.decoder import Hypothesis, pad_with_blanks


@dataclass(frozen=True)
class GreedyDecoder:
    """Best-path decoding (Graves et al. 2006, "Connectionist Temporal Classification", section 3.2).

    A hypothesis's score is the log-probability of the best path alone, not of all paths that read
    the same. Each label's positional score is that of the frames from its start to the next
    label's start; the frames before the first label count to the first. Among equally probable
    symbols of a frame the lowest index wins.

    Attributes:
        blank: index of the blank symbol.
    """

    blank: int

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`Decoder.search`. Exactly one hypothesis per utterance."""
        scores, path = pad_with_blanks(log_probs, lengths, self.blank).max(-1)
        starts = (path != self.blank) & (path != pad(path, (1, 0), value=self.blank)[:, :-1])
        return [[self._hypothesis(*utterance)] for utterance in zip(scores, path, starts, strict=True)]

    @staticmethod
    def _hypothesis(scores: Tensor, path: Tensor, starts: Tensor) -> Hypothesis:
        """Collapse one best path; ``scores``, ``path`` and ``starts`` (a label begins here) are (T,)."""
        frames = starts.nonzero()[:, 0]
        positional = scores.new_zeros(len(frames))
        if len(frames):
            owner = (starts.cumsum(0) - 1).clamp(min=0)
            positional.index_add_(0, owner, scores)
        return Hypothesis(path[frames], float(scores.sum()), positional, frames)
