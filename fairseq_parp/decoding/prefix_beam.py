"""CTC prefix beam search without a language model, vectorised over utterances, beams and symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.decoding.lattice import Lattice
from fairseq_parp.decoding.searcher import NEVER, Hypothesis, pad_with_blanks

_MULTIPLIER = 6364136223846793005  # Knuth's MMIX generator; any large odd number spreads the bits
_DEAD = -1


class _Beams(NamedTuple):
    """The prefixes that survive a frame, best first; each field is (B, K).

    Two prefixes are the same label sequence if and only if their keys, 64-bit rolling hashes, are
    equal (a collision among a million pairs has a probability of 5e-14). A beam that holds no
    prefix, while there are fewer prefixes than beams, has the key ``_DEAD`` and never grows:
    whatever has no probability comes behind all beams that are there already.
    """

    ends_blank: Tensor  # log-probability of the paths that end in a blank
    ends_label: Tensor  # log-probability of the paths that end in the prefix's last label
    last: Tensor  # that label; the blank's index for the empty prefix
    key: Tensor


class _Step(NamedTuple):
    """Where the prefixes that survive a frame came from; each field is (B, K)."""

    origin: Tensor  # the beam before the frame
    label: Tensor  # the label that was appended, or -1


def _child(key: Tensor, label: Tensor) -> Tensor:
    """Return the key of a prefix with one label more; int64 arithmetic wraps around."""
    return key * _MULTIPLIER + label + 1


@dataclass(frozen=True)
class PrefixBeamSearcher:
    """Prefix beam search (Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition").

    The beam decides which label sequences are looked at, never what they score: the survivors are
    scored again over all their alignments (:meth:`Lattice.total`), so a score is the label
    sequence's true log-probability however narrow the beam, and the order follows it. A beam as
    wide as the number of possible prefixes makes the list itself exact.

    Candidates of equal probability are kept in the order: prefixes left as they are before longer
    ones, better beams first, lower symbols first.

    Attributes:
        blank: index of the blank symbol.
        beam: prefixes kept after each frame, at least 1.
        nbest: most hypotheses per utterance, 1 to ``beam``; fewer when fewer are possible.
    """

    blank: int
    beam: int
    nbest: int = 1

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`Searcher.search`.

        An utterance in which nothing is possible gets the empty hypothesis with score -inf.
        """
        frames = pad_with_blanks(log_probs, lengths, self.blank)
        labels, counts, alive = self._survivors(frames)
        scores, positional = Lattice(frames, labels, counts, self.blank).total()
        scores, order = scores.masked_fill(~alive, NEVER).sort(dim=-1, descending=True, stable=True)
        scores, order = scores[:, : self.nbest], order[:, : self.nbest]
        rows = order[..., None].expand(-1, -1, labels.size(-1))
        labels, counts, positional = labels.gather(1, rows), counts.gather(1, order), positional.gather(1, rows)
        starts = Lattice(frames, labels, counts, self.blank).align()
        batch = zip(labels, scores.tolist(), positional, starts, counts.tolist(), strict=True)
        return [_hypotheses(*utterance) for utterance in batch]

    def _survivors(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Search (B, T, C) frames; return labels (B, K, N), their counts and whether there is one (B, K)."""
        beams, steps = self._first(frames), []
        for frame in frames.unbind(1):
            beams, step = self._advance(beams, frame)
            steps.append(step)
        labels, counts = _trace(steps, beams.last)
        return labels, counts, beams.key != _DEAD

    def _first(self, frames: Tensor) -> _Beams:
        """Return the beams before the first frame: the empty prefix, the rest dead."""
        never = frames.new_full((frames.size(0), self.beam), NEVER)
        ends_blank = never.clone()
        ends_blank[:, 0] = 0.0
        last = torch.full_like(never, self.blank, dtype=torch.long)
        return _Beams(ends_blank, never, last, torch.where(ends_blank == NEVER, _DEAD, 0))

    def _advance(self, beams: _Beams, frame: Tensor) -> tuple[_Beams, _Step]:
        """Read one frame (B, C) and keep the best prefixes, those left as they are and those one label longer."""
        stay_blank, stay_label, longer = self._candidates(beams, frame)
        symbols = frame.size(-1)
        candidates = torch.cat((torch.logaddexp(stay_blank, stay_label), longer.flatten(1)), 1)
        scores, index = (kept[:, : self.beam] for kept in candidates.sort(dim=1, descending=True, stable=True))
        stays, index = index < self.beam, index - self.beam
        origin = torch.where(stays, index + self.beam, index // symbols)
        label = torch.where(stays, -1, index % symbols)
        key = beams.key.gather(1, origin)
        kept = _Beams(
            ends_blank=stay_blank.gather(1, origin).masked_fill(~stays, NEVER),
            ends_label=torch.where(stays, stay_label.gather(1, origin), scores),
            last=torch.where(stays, beams.last.gather(1, origin), label),
            key=torch.where(stays, key, _child(key, label)),
        )
        return kept, _Step(origin, label)

    def _candidates(self, beams: _Beams, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score every continuation by one frame.

        Returns:
            (B, K) a prefix left as it is, ending in a blank; (B, K) the same, ending in its last
            label; (B, K, C) a prefix with one label more, -inf where that is another beam already.
        """
        total = torch.logaddexp(beams.ends_blank, beams.ends_label)
        emitted = frame.gather(1, beams.last)
        longer = total[..., None] + frame[:, None]
        # The same label again is a new one only after a blank; otherwise it is the old one going on.
        longer.scatter_(2, beams.last[..., None], (beams.ends_blank + emitted)[..., None])
        longer[..., self.blank] = NEVER
        stay_label = torch.logaddexp(beams.ends_label + emitted, self._merge(beams, longer))
        return total + frame[:, self.blank, None], stay_label, longer

    @staticmethod
    def _merge(beams: _Beams, longer: Tensor) -> Tensor:
        """Take out of ``longer`` what grows into a prefix that is a beam already; return it at that beam, (B, K)."""
        last = beams.last[:, None, :].expand(-1, beams.last.size(1), -1)
        same = _child(beams.key[..., None], last) == beams.key[:, None, :]
        grown = longer.gather(2, last).masked_fill(~same, NEVER).amax(1)
        utterance, parent, child = same.nonzero(as_tuple=True)
        longer[utterance, parent, beams.last[utterance, child]] = NEVER
        return grown


def _trace(steps: list[_Step], like: Tensor) -> tuple[Tensor, Tensor]:
    """Walk back from the last frame's beams; return labels (B, K, N), garbage past the counts, and counts (B, K)."""
    at = torch.arange(like.size(1), device=like.device).expand_as(like)
    appended = torch.full((*like.shape, len(steps)), -1, device=like.device)
    for t in reversed(range(len(steps))):
        appended[..., t] = steps[t].label.gather(1, at)
        at = steps[t].origin.gather(1, at)
    counts = (appended >= 0).sum(-1)
    order = (appended < 0).sort(dim=-1, stable=True).indices[..., : int(counts.max())]
    return appended.gather(-1, order).clamp(min=0), counts


def _hypotheses(
    labels: Tensor, scores: list[float], positional: Tensor, starts: Tensor, counts: list[int]
) -> list[Hypothesis]:
    """Cut one utterance's sequences, (M, N) each, to their lengths; leave out the impossible ones."""
    found = [
        Hypothesis(labels[m, :n], scores[m], positional[m, :n], starts[m, :n])
        for m, n in enumerate(counts)
        if scores[m] > NEVER
    ]
    return found or [Hypothesis(labels[0, :0], NEVER, positional[0, :0], starts[0, :0])]
