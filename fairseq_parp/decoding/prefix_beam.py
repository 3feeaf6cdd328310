"""CTC prefix beam search without a language model, vectorised over utterances, beams and symbols."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.decoding.lattice import Lattice
from fairseq_parp.decoding.pruning import USUAL_PRUNING, Pruning, prune_frames
from fairseq_parp.decoding.searcher import (
    NEVER,
    STEPS_PER_NAT,
    Hypothesis,
    comparable,
    nothing_possible,
    pad_with_blanks,
)

_MULTIPLIER = 6364136223846793005  # Knuth's MMIX generator; any large odd number spreads the bits
_DEAD = -1


class _Frame(NamedTuple):
    """One frame of B utterances, and apart from it the M symbols of each that a prefix may grow by, ascending."""

    every: Tensor  # (B, C) log-probabilities
    symbols: Tensor  # (B, M)
    grow: Tensor  # (B, M) their log-probabilities; -inf where an utterance has fewer than M


class _Beams(NamedTuple):
    """The prefixes that survive a frame, best first; each field is (B, K), K as many as the utterance with most has.

    Two prefixes are the same label sequence if and only if their keys, 64-bit rolling hashes, are
    equal (a collision among a million pairs has a probability of 5e-14). A beam that holds no
    prefix, in an utterance with fewer, has the key ``_DEAD``, stands last and never grows.
    """

    ends_blank: Tensor  # log-probability of the paths that end in a blank
    ends_label: Tensor  # log-probability of the paths that end in the prefix's last label
    last: Tensor  # that label; the blank's index for the empty prefix
    key: Tensor
    parent: Tensor  # the key of the prefix without that label; _DEAD for the empty prefix and without a prefix


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

    Candidates of equal probability (to a millionth of a nat) are kept in the order: prefixes left
    as they are before longer ones, better beams first, lower symbols first.

    Attributes:
        blank: index of the blank symbol.
        beam: prefixes kept after each frame at most, at least 1.
        nbest: most hypotheses per utterance, 1 to ``beam``; fewer when fewer are possible, or survive the pruning.
        pruning: what is not looked at; ``NO_PRUNING`` looks at all.
    """

    blank: int
    beam: int
    nbest: int = 1
    pruning: Pruning = USUAL_PRUNING

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`Searcher.search`.

        An utterance in which nothing is possible gets the empty hypothesis with score -inf.
        """
        frames = pad_with_blanks(log_probs, lengths, self.blank)
        labels, counts, alive = self._survivors(prune_frames(frames, self.blank, self.pruning.token_min_logp))
        scores, positional = Lattice(frames, labels, counts, self.blank).total()
        order = comparable(scores.masked_fill_(~alive, NEVER)).sort(dim=-1, descending=True, stable=True).indices
        order = order[:, : self.nbest]
        rows = order[..., None].expand(-1, -1, labels.size(-1))
        labels, counts, positional = labels.gather(1, rows), counts.gather(1, order), positional.gather(1, rows)
        starts = Lattice(frames, labels, counts, self.blank).align()
        batch = zip(labels, scores.gather(1, order).tolist(), positional, starts, counts.tolist(), strict=True)
        return [_hypotheses(*utterance) for utterance in batch]

    def _survivors(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Search (B, T, C) frames.

        Returns:
            labels (B, K, N), counts (B, K), and whether there is such a survivor (B, K); those that are not repeat
            the first one.
        """
        beams, steps = self._first(frames), []
        for frame in self._frames(frames):
            beams, step = self._advance(beams, frame)
            steps.append(step)
        labels, counts = _trace(steps, beams.last)
        alive = beams.key != _DEAD
        return torch.where(alive[..., None], labels, labels[:, :1]), torch.where(alive, counts, counts[:, :1]), alive

    def _frames(self, frames: Tensor) -> Iterator[_Frame]:
        """Yield frame after frame, with as few symbols as it leaves possible."""
        grow = frames.clone()
        grow[..., self.blank] = NEVER
        possible = grow > NEVER
        most = possible.sum(-1).amax(0).clamp(min=1).tolist()
        symbols = (~possible).sort(dim=-1, stable=True).indices[..., : max(most, default=1)]
        grow = grow.gather(-1, symbols)
        for t, many in enumerate(most):
            yield _Frame(frames[:, t], symbols[:, t, :many], grow[:, t, :many])

    def _first(self, frames: Tensor) -> _Beams:
        """Return the beam before the first frame: the empty prefix."""
        certain = frames.new_zeros((frames.size(0), 1))
        key = torch.zeros_like(certain, dtype=torch.long)
        return _Beams(certain, torch.full_like(certain, NEVER), torch.full_like(key, self.blank), key, key + _DEAD)

    def _advance(self, beams: _Beams, frame: _Frame) -> tuple[_Beams, _Step]:
        """Read one frame and keep the best prefixes, those left as they are and those one label longer."""
        stay_blank, stay_label, longer = self._candidates(beams, frame)
        many, symbols = longer.shape[1:]
        candidates = torch.cat((torch.logaddexp(stay_blank, stay_label), longer.flatten(1)), 1)
        ranks, index = (
            kept[:, : self.beam] for kept in comparable(candidates).sort(dim=1, descending=True, stable=True)
        )
        alive = (ranks > NEVER) & (ranks >= ranks[:, :1] + self.pruning.beam_prune_logp * STEPS_PER_NAT)
        room = max(1, int(alive.sum(1).max()))
        alive, index = alive[:, :room], index[:, :room]
        stays, grown = index < many, (index - many).clamp(min=0)
        origin = torch.where(stays, index, grown // symbols)
        label = torch.where(stays, -1, frame.symbols.gather(1, grown % symbols))
        ends_label = torch.where(stays, stay_label.gather(1, origin), candidates.gather(1, index))
        key = beams.key.gather(1, origin)
        kept = _Beams(
            ends_blank=stay_blank.gather(1, origin).masked_fill(~(stays & alive), NEVER),
            ends_label=ends_label.masked_fill(~alive, NEVER),
            last=torch.where(stays, beams.last.gather(1, origin), label),
            key=torch.where(stays, key, _child(key, label)).masked_fill(~alive, _DEAD),
            parent=torch.where(stays, beams.parent.gather(1, origin), key).masked_fill(~alive, _DEAD),
        )
        return kept, _Step(origin, label)

    def _candidates(self, beams: _Beams, frame: _Frame) -> tuple[Tensor, Tensor, Tensor]:
        """Score every continuation by one frame.

        Returns:
            (B, K) a prefix left as it is, ending in a blank; (B, K) the same, ending in its last
            label; (B, K, M) a prefix with one label more, -inf where that is another beam already.
        """
        total = torch.logaddexp(beams.ends_blank, beams.ends_label)
        # The same label again is a new one only after a blank; otherwise it is the old one going on.
        doubled = frame.symbols[:, None] == beams.last[..., None]
        longer = torch.where(doubled, beams.ends_blank[..., None], total[..., None]) + frame.grow[:, None]
        repeated = beams.ends_label + frame.every.gather(1, beams.last)
        stay_label = torch.logaddexp(repeated, self._merge(beams, frame, longer))
        return total + frame.every[:, self.blank, None], stay_label, longer

    @staticmethod
    def _merge(beams: _Beams, frame: _Frame, longer: Tensor) -> Tensor:
        """Take out of ``longer`` what grows into a prefix that is a beam already; return it at that beam, (B, K)."""
        grown = torch.full_like(beams.ends_label, NEVER)
        same = beams.key[..., None] == beams.parent[:, None]
        utterance, parent, child = same.nonzero(as_tuple=True)
        pair, symbol = (frame.symbols[utterance] == beams.last[utterance, child, None]).nonzero(as_tuple=True)
        utterance, parent, child = utterance[pair], parent[pair], child[pair]
        grown[utterance, child] = longer[utterance, parent, symbol]
        longer[utterance, parent, symbol] = NEVER
        return grown


@functools.cache
def fastest_search() -> type[PrefixBeamSearcher]:
    """Return the compiled search; where it was not compiled, the one in torch, which finds the same."""
    from fairseq_parp.decoding.compiled import CompiledPrefixBeamSearcher, decoder

    return CompiledPrefixBeamSearcher if decoder() else PrefixBeamSearcher


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
    return found or [nothing_possible(labels.device)]
