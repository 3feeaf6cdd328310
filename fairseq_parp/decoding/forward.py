"""The sum over all alignments in probabilities instead of logarithms: many times faster, where it can be trusted.

The sequences of an utterance share most of their beginnings, and each beginning is summed once. Sums are kept times a
power of two, which is chosen anew for each utterance every ``CHUNK`` frames so that the largest of them is just below
2^``TOP``. As probabilities are at most 1, the power is never less than 2^(``TOP`` - 1). A
term that is lost below the smallest double, 2^-1074, was therefore less than e^-1367. A sum above e^``MIN_TOTAL`` has
then lost less than a double's last digit, for any number of frames and states. Smaller sums are computed in logarithms.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fairseq_parp.decoding.decoder import NEG_INF

CHUNK, TOP, MIN_TOTAL = 64, 900, -1300.0

MAX_AT_ONCE = 1000
"""Largest growth of the power of two after a chunk: 2^1024 is infinite."""

MIN_SYMBOL = -690.0
"""Below, a symbol's probability is no normal double, and logarithms have to do it all."""


def are_fit(log_probs: Tensor) -> Tensor:
    """Return of which utterances all (B, T, C) log-probabilities are possible as probabilities, or -inf; (B,)."""
    return ~((log_probs < MIN_SYMBOL) & (log_probs > NEG_INF)).flatten(1).any(1)


def totals(log_probs: Tensor, labels: Tensor, counts: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Sum over all alignments; the arguments are those of :class:`~fairseq_parp.decoding.lattice.Lattice`.

    Returns:
        (B, K) scores, which may be trusted above ``MIN_TOTAL``; (B, K, N) log-probabilities of first reaching each
        label, which may be trusted where the score may.
    """
    batch, _, symbols = log_probs.shape
    probabilities = log_probs.exp().transpose(0, 1).contiguous()
    tree = _tree(labels, counts, symbols)
    parent, where = tree.parent.int(), (symbols * tree.utterance[batch:] + tree.label).int()
    skips = (tree.label != pad(tree.label, (batch, 0), value=blank)[tree.parent]).to(log_probs.dtype)
    # At each node: the sum of paths that end in its label, and in the blank after it.
    at_label = skips.new_zeros(batch + len(skips))
    at_blank = torch.zeros_like(at_label)
    at_blank[:batch] = 2.0**TOP
    power = skips.new_full((batch,), TOP)
    begun = torch.full_like(at_label, NEG_INF)
    for chunk in probabilities.split(CHUNK):
        begun_here = torch.zeros_like(begun)
        for frame in chunk.unbind():
            emitted = frame.view(-1).index_select(0, where)
            before_blank, before_label = (each.index_select(0, parent) for each in (at_blank, at_label))
            entered = before_blank.addcmul_(skips, before_label).mul_(emitted)
            at_blank.add_(at_label).mul_(frame[:, blank].index_select(0, tree.utterance))
            at_label[batch:].mul_(emitted).add_(entered)
            begun_here[batch:] += entered
        begun = torch.logaddexp(begun, begun_here.log_() - power[tree.utterance] * math.log(2))
        largest = torch.zeros_like(power).scatter_reduce_(0, tree.utterance, torch.maximum(at_label, at_blank), "amax")
        more = (TOP - torch.frexp(largest).exponent).clamp_(max=MAX_AT_ONCE)
        factor = torch.ldexp(torch.ones_like(power), more)[tree.utterance]
        at_label, at_blank, power = at_label * factor, at_blank * factor, power + more
    final = (at_label + at_blank)[tree.leaf]
    return final.log() - power[:, None] * math.log(2), begun[tree.node]


class _Tree(NamedTuple):
    """The beginnings of B utterances' sequences, equal ones once: M nodes after the B roots, which are no label."""

    parent: Tensor  # (M,) node without the last label
    label: Tensor  # (M,) last label
    utterance: Tensor  # (B + M,)
    node: Tensor  # (B, K, N) node of the first n labels, from n = 1; past a sequence's end any
    leaf: Tensor  # (B, K) node of a whole sequence


def _tree(labels: Tensor, counts: Tensor, symbols: int) -> _Tree:
    utterance = torch.arange(len(labels), device=labels.device)
    at = utterance[:, None].expand(counts.shape).clone()
    node, size = torch.empty_like(labels), len(labels)
    codes = [utterance[:0]]
    for n, appended in enumerate(labels.unbind(-1)):
        left = n < counts
        code, place = torch.unique(at[left] * symbols + appended[left], return_inverse=True)
        at[left] = size + place
        node[..., n] = at
        codes.append(code)
        size += len(code)
    utterance = pad(utterance, (0, size - len(labels)))
    utterance[node] = torch.arange(len(labels), device=labels.device)[:, None, None]
    parent_and_label = torch.cat(codes)
    return _Tree(parent_and_label // symbols, parent_and_label % symbols, utterance, node, at)
