"""The score of a given label sequence: its probability over all CTC alignments, and its best alignment.

Both walk the lattice of Graves et al. (2006): a sequence of N labels has 2N + 1 states, label n
(from 0) at state 2n + 1 and optional blanks around it at even states. A path stays in its state,
moves to the next, or skips a blank between two different labels. One step per frame; everything
else is vectorised over B utterances, K sequences of each, and S states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding import forward
from fairseq_parp.decoding.decoder import NEG_INF


@dataclass(frozen=True)
class Lattice:
    """The lattices of K label sequences for each of B utterances of T frames.

    Attributes:
        log_probs: (B, T, C) float64; frames past the end are certain blanks (``pad_with_blanks``).
        labels: (B, K, N) int64; values past a sequence's end are ignored.
        counts: (B, K) int64, labels of each sequence.
        blank: index of the blank symbol.
    """

    log_probs: Tensor
    labels: Tensor
    counts: Tensor
    blank: int

    def total(self) -> tuple[Tensor, Tensor]:
        """Sum over all alignments.

        Label n's positional score is log P(labels 0..n begin the transcript) - log P(labels
        0..n-1 begin it): the log-probability of that label after its predecessors, as in an
        autoregressive model. The last label also carries that of nothing following it. The
        probability of a beginning is that of *first* reaching the label's state, at any frame.

        Returns:
            (B, K) scores, log P(labels | audio); (B, K, N) positional scores, 0 past the end of a
            sequence; they sum to the score unless it is -inf or the sequence is empty.
        """
        scores, begun = forward.totals(self.log_probs, self.labels, self.counts, self.blank)
        doubtful = ~(scores > forward.MIN_TOTAL) | ~forward.are_fit(self.log_probs)[:, None]
        if doubtful.any():
            some, which = doubtful.nonzero(as_tuple=True)
            one_each = self.labels[some, which][:, None], self.counts[some, which][:, None]
            in_logs = Lattice(self.log_probs[some], *one_each, self.blank)._totals_in_logs()
            scores[doubtful], begun[doubtful] = (each[:, 0] for each in in_logs)
        return scores, self._increments(begun, scores)

    def align(self) -> Tensor:
        """Find the single most probable alignment (Viterbi).

        Returns:
            (B, K, N) int64, the frame at which each label starts; meaningless past the end of a
            sequence, or where the sequence has no alignment. Of equals, the earlier start wins.
        """
        best = self._start()
        moves = torch.empty((self.log_probs.size(1), *best.shape), dtype=torch.uint8, device=best.device)
        for t, frame in enumerate(self.log_probs.unbind(1)):
            best, moves[t] = torch.stack(self._arrivals(best)).max(0)
            best = best + self._emitted(frame)
        at_label, at_blank = self._final(best).unbind(-1)
        at = 2 * self.counts - (at_label > at_blank).long()
        path = torch.empty((*at.shape, len(moves)), dtype=at.dtype, device=at.device)
        for t in reversed(range(len(moves))):
            path[..., t] = at
            at = at - moves[t].gather(-1, at[..., None])[..., 0]
        wanted = torch.arange(1, moves.size(-1), 2, device=at.device).expand(self.labels.shape)
        # A path never goes back, so a state's first frame is a binary search in it.
        return torch.searchsorted(path, wanted.contiguous())

    def _totals_in_logs(self) -> tuple[Tensor, Tensor]:
        """Return scores (B, K), and log-probabilities of first reaching each label (B, K, N)."""
        reached = self._start()
        begun = torch.full_like(reached[..., 1::2], NEG_INF)
        for frame in self.log_probs.unbind(1):
            emitted, (stayed, moved, skipped) = self._emitted(frame), self._arrivals(reached)
            entered = torch.logaddexp(moved, skipped)
            begun = torch.logaddexp(begun, (entered + emitted)[..., 1::2])
            reached = torch.logaddexp(stayed, entered) + emitted
        return self._final(reached).logsumexp(-1), begun

    @cached_property
    def _states(self) -> Tensor:
        """The symbol of each state, (B, K, S): blanks with the labels between."""
        states = self.labels.new_full((*self.labels.shape[:2], 2 * self.labels.size(2) + 1), self.blank)
        states[..., 1::2] = self.labels
        return states

    @cached_property
    def _no_skip(self) -> Tensor:
        """Where a state cannot be reached from two before, (B, K, S): a blank, or a repeated label."""
        return self._states == pad(self._states, (2, 0), value=self.blank)[..., :-2]

    def _start(self) -> Tensor:
        """Return log-probabilities before the first frame, (B, K, S): all at the first blank."""
        start = torch.full_like(self._states, NEG_INF, dtype=self.log_probs.dtype)
        start[..., 0] = 0.0
        return start

    def _emitted(self, frame: Tensor) -> Tensor:
        """Look up each state's symbol in one frame's log-probabilities (B, C)."""
        return frame[:, None].expand(-1, self.labels.size(1), -1).gather(2, self._states)

    def _arrivals(self, reached: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-probabilities of coming from the same state, the one before and two before, (B, K, S) each."""
        one = pad(reached, (1, 0), value=NEG_INF)[..., :-1]
        two = pad(reached, (2, 0), value=NEG_INF)[..., :-2]
        return reached, one, two.masked_fill(self._no_skip, NEG_INF)

    def _final(self, reached: Tensor) -> Tensor:
        """Return (B, K, 2): log-probability of ending in the last label, and in the blank after it."""
        last = 2 * self.counts[..., None] + torch.arange(2, device=reached.device)
        return pad(reached, (1, 0), value=NEG_INF).gather(-1, last)

    def _increments(self, begun: Tensor, scores: Tensor) -> Tensor:
        """Turn log-probabilities of beginnings (B, K, N) into positional scores."""
        position = torch.arange(begun.size(-1), device=begun.device)
        last, past = self.counts[..., None] - 1, position >= self.counts[..., None]
        begun = torch.where(position == last, scores[..., None], begun)
        return (begun - pad(begun, (1, 0))[..., :-1]).masked_fill(past, 0.0)
