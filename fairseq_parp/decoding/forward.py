"""The sum over all alignments in probabilities instead of logarithms: many times faster, where it can be trusted.

Sums are kept times a power of two, which is chosen anew for each sequence every ``CHUNK`` frames so that the largest
of them is just below 2^``TOP``. As probabilities are at most 1, the power is never less than 2^(``TOP`` - 1), so
whatever is lost below the smallest double, 2^-1074, was less than e^-1367. A sum above e^``LEAST`` has then lost less
than a double's last digit, however many frames and states there were. For the rest there are logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fairseq_parp.decoding.searcher import NEVER

CHUNK, TOP, LEAST = 64, 900, -1300.0

MOST_AT_ONCE = 1000
"""What a power of two grows by at most after a chunk: 2^1024 is infinite."""

LEAST_SYMBOL = -690.0
"""Below, a symbol's probability is no normal double, and logarithms have to do it all."""


def are_fit(log_probs: Tensor) -> Tensor:
    """Tell of which utterances all (B, T, C) log-probabilities are possible as probabilities, or -inf; (B,)."""
    return ~((log_probs < LEAST_SYMBOL) & (log_probs > NEVER)).flatten(1).any(1)


def totals(log_probs: Tensor, labels: Tensor, counts: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """Sum over all alignments; the arguments are those of :class:`~fairseq_parp.decoding.lattice.Lattice`.

    Returns:
        (B, K) scores, which may be trusted above ``LEAST``; (B, K, N) log-probabilities of first reaching each label,
        which may be trusted where the score may.
    """
    batch, _, symbols = log_probs.shape
    probabilities = log_probs.exp().transpose(0, 1).contiguous()
    by_label = labels.permute(2, 0, 1)  # neighbouring labels are whole blocks of memory then
    where = (by_label + symbols * torch.arange(batch, device=labels.device)[:, None]).flatten().int()
    skips = torch.ones_like(by_label, dtype=log_probs.dtype, memory_format=torch.contiguous_format)
    skips[1:].masked_fill_(by_label[1:] == by_label[:-1], 0.0)
    # At label n, from 1: what ends in it, and in the blank after it; at 0, before all labels.
    at_label = skips.new_zeros((len(skips) + 1, *skips.shape[1:]))
    at_blank = torch.zeros_like(at_label)
    at_blank[0] = 2.0**TOP
    power = torch.full_like(at_blank[0], TOP)
    begun = torch.full_like(skips, NEVER)
    for chunk in probabilities.split(CHUNK):
        begun_here = torch.zeros_like(begun)
        for frame in chunk.unbind():
            emitted = frame.view(-1).index_select(0, where).view_as(skips)
            entered = torch.addcmul(at_blank[:-1], skips, at_label[:-1]).mul_(emitted)
            at_blank.add_(at_label).mul_(frame[:, blank, None])
            at_label[1:].mul_(emitted).add_(entered)
            begun_here += entered
        begun = torch.logaddexp(begun, begun_here.log_() - power * math.log(2))
        more = (TOP - torch.frexp(torch.maximum(at_label, at_blank).amax(0)).exponent).clamp_(max=MOST_AT_ONCE)
        factor = torch.ldexp(torch.ones_like(power), more)
        at_label, at_blank, power = at_label * factor, at_blank * factor, power + more
    last = counts[None]
    final = at_label.gather(0, last) + at_blank.gather(0, last)
    return (final.log() - power * math.log(2))[0], begun.permute(1, 2, 0)
