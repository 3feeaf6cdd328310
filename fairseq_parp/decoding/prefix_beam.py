"""CTC prefix beam search without a language model, vectorised over utterances, beams and symbols."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding.decoder import (
    NEG_INF,
    STEPS_PER_NAT,
    Hypothesis,
    comparable,
    nothing_possible,
    pad_with_blanks,
)
from fairseq_parp.decoding.lattice import Lattice
from fairseq_parp.decoding.thresholds import USUAL_BEAM_THRESHOLDS, BeamThresholds, prune_frames

_MULTIPLIER = 6364136223846793005  # Knuth's MMIX generator; any large odd number spreads the bits
_DEAD = -1
_NOWHERE = 1 << 40  # far past all candidates; times the number of symbols it is still an int64


class _Frame(NamedTuple):
    """One frame of B utterances, and apart from it the M symbols of each that a prefix may grow by, ascending."""

    every: Tensor  # (B, C) log-probabilities
    labels: Tensor  # (B, 1 + M): -1, then the symbols
    grow: Tensor  # (B, M) the symbols' log-probabilities; -inf where an utterance has fewer than M
    place: Tensor  # (B, C) where a symbol is among the M; _NOWHERE where it is not


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

    def without(self, dead: Tensor) -> _Beams:
        """Return the beams with some emptied, where ``dead`` (B, K) holds."""
        changed = (self.ends_blank, NEG_INF), (self.ends_label, NEG_INF), (self.key, _DEAD), (self.parent, _DEAD)
        blank, label, key, parent = (field.masked_fill(dead, value) for field, value in changed)
        return _Beams(blank, label, self.last, key, parent)


class _Step(NamedTuple):
    """Where the prefixes that survive a frame came from; each field is (B, K)."""

    origin: Tensor  # the beam before the frame
    label: Tensor  # the label that was appended, or -1


class _Layout(NamedTuple):
    """The order of the candidates: K prefixes left as they are, then K x M longer ones, then one that is impossible."""

    first_longer: Tensor  # (K,) index of each beam's first longer candidate
    origin: Tensor  # (K + K M,) the beam that a candidate comes from
    column: Tensor  # (K + K M,) 0, or 1 + the place of the label appended
    factor: Tensor  # (K + K M,) of the key: 1, or the multiplier


@functools.lru_cache(maxsize=256)  # a few dozen pairs of sizes return all the time
def _layout(beams: int, symbols: int, device: torch.device) -> _Layout:
    beam = torch.arange(beams, device=device)
    column = torch.cat((torch.zeros_like(beam), torch.arange(1, symbols + 1, device=device).repeat(beams)))
    origin = torch.cat((beam, beam.repeat_interleave(symbols)))
    return _Layout(beams + beam * symbols, origin, column, torch.where(column > 0, _MULTIPLIER, 1))


@dataclass(frozen=True)
class PrefixBeamDecoder:
    """Prefix beam search (Hannun et al. 2014, "First-Pass Large Vocabulary Continuous Speech Recognition").

    The beam selects the label sequences that the search visits. It does not change their scores: the survivors are
    scored again over all their alignments (:meth:`Lattice.total`). A score is therefore the true log-probability of the
    label sequence at every width, and determines the order. A beam as wide as the number of possible prefixes makes the
    list itself exact.

    Candidates of equal probability (to a millionth of a nat) keep this order: unchanged prefixes before longer ones,
    better prefixes first, lower symbols first.

    Attributes:
        blank: index of the blank symbol.
        beam: prefixes kept after each frame at most, at least 1.
        nbest: most hypotheses per utterance, 1 to ``beam``; fewer when fewer are possible, or survive the pruning.
        pruning: thresholds below which symbols and prefixes are skipped; ``NO_BEAM_PRUNING`` skips none.
    """

    blank: int
    beam: int
    nbest: int = 1
    pruning: BeamThresholds = USUAL_BEAM_THRESHOLDS

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Hypothesis]]:
        """Decode a batch; see :meth:`Decoder.search`.

        An utterance in which nothing is possible gets the empty hypothesis with score -inf.
        """
        frames = pad_with_blanks(log_probs, lengths, self.blank)
        labels, counts, alive = self._survivors(prune_frames(frames, self.blank, self.pruning.token_min_logp))
        scores, positional = Lattice(frames, labels, counts, self.blank).total()
        order = comparable(scores.masked_fill_(~alive, NEG_INF)).sort(dim=-1, descending=True, stable=True).indices
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
        grow[..., self.blank] = NEG_INF
        possible = grow > NEG_INF
        most = possible.sum(-1).amax(0).clamp(min=1).tolist()
        symbols = (~possible).sort(dim=-1, stable=True).indices[..., : max(most, default=1)]
        grow = grow.gather(-1, symbols)
        labels = pad(symbols, (1, 0), value=-1)
        place = torch.where(possible, possible.cumsum(-1) - 1, _NOWHERE)
        for t, many in enumerate(most):
            yield _Frame(frames[:, t], labels[:, t, : 1 + many], grow[:, t, :many], place[:, t])

    def _first(self, frames: Tensor) -> _Beams:
        """Return the beam before the first frame: the empty prefix."""
        certain = frames.new_zeros((frames.size(0), 1))
        key = torch.zeros_like(certain, dtype=torch.long)
        return _Beams(certain, torch.full_like(certain, NEG_INF), torch.full_like(key, self.blank), key, key + _DEAD)

    def _advance(self, beams: _Beams, frame: _Frame) -> tuple[_Beams, _Step]:
        """Read one frame and keep the best prefixes, those left as they are and those one label longer."""
        layout = _layout(beams.key.size(1), frame.grow.size(1), beams.key.device)
        ends_blank, ends_label = self._candidates(beams, frame, layout)
        many = ends_blank.size(1)
        ranks = comparable(ends_label)
        ranks[:, :many] = comparable(torch.logaddexp(ends_blank, ends_label[:, :many]))
        ranks, index = (kept[:, : self.beam] for kept in ranks.sort(dim=1, descending=True, stable=True))
        least = ranks[:, :1] + self.pruning.beam_prune_logp * STEPS_PER_NAT
        alive = ranks >= least.clamp_(min=torch.finfo(ranks.dtype).min)  # NEG_INF is below that
        counts = alive.sum(1).tolist()
        room = max(1, *counts)
        alive, index = alive[:, :room], index[:, :room]
        origin, label = layout.origin.take(index), frame.labels.gather(1, layout.column.take(index))
        stays, key = index < many, beams.key.gather(1, origin)
        kept = _Beams(
            ends_blank=pad(ends_blank, (0, 1), value=NEG_INF).gather(1, index.clamp(max=many)),
            ends_label=ends_label.gather(1, index),
            last=torch.where(stays, beams.last.gather(1, origin), label),
            key=key * layout.factor.take(index) + (label + 1),  # int64 arithmetic wraps around; -1 changes nothing
            parent=torch.where(stays, beams.parent.gather(1, origin), key),
        )
        return kept if min(counts) == room else kept.without(~alive), _Step(origin, label)

    def _candidates(self, beams: _Beams, frame: _Frame, layout: _Layout) -> tuple[Tensor, Tensor]:
        """Score every continuation by one frame.

        Returns:
            (B, K) a prefix left as it is, ending in a blank; (B, K + K M) the same, ending in its last label, and
            then each prefix with one label more, -inf where that is another beam already.
        """
        many, symbols = beams.key.size(1), frame.grow.size(1)
        total = torch.logaddexp(beams.ends_blank, beams.ends_label)
        every = total.new_full((total.size(0), many + many * symbols + 1), NEG_INF)
        torch.add(total[..., None], frame.grow[:, None], out=every[:, many:-1].unflatten(1, (many, symbols)))
        emitted, place = (each.gather(1, beams.last) for each in (frame.every, frame.place))
        # The same label again is a new one only after a blank; otherwise it is the old one going on.
        doubled = (layout.first_longer + place).clamp_(max=every.size(1) - 1)
        every.scatter_(1, doubled, torch.where(place == _NOWHERE, NEG_INF, beams.ends_blank + emitted))
        # A prefix that grows into another beam is counted there.
        grown = (many + _parents(beams) * symbols + place).clamp_(max=every.size(1) - 1)
        torch.logaddexp(beams.ends_label + emitted, every.gather(1, grown), out=every[:, :many])
        every.scatter_(1, grown, NEG_INF)
        return total + frame.every[:, self.blank, None], every[:, :-1]


def _parents(beams: _Beams) -> Tensor:
    """Return for each prefix the beam that holds it without its last label, (B, K); _NOWHERE if none does."""
    keys, order = beams.key.sort(1)
    at = torch.searchsorted(keys, beams.parent).clamp_(max=keys.size(1) - 1)
    return order.gather(1, at).masked_fill_(keys.gather(1, at) != beams.parent, _NOWHERE)


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
        if scores[m] > NEG_INF
    ]
    return found or [nothing_possible(labels.device)]
