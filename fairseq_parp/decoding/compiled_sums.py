"""What a label sequence is worth, and its best alignment: :mod:`.lattice` and :mod:`.forward`, compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fairseq_parp.compiling import jit
from fairseq_parp.decoding.compiled_search import logaddexp
from fairseq_parp.decoding.forward import CHUNK, LEAST, LEAST_SYMBOL, MOST_AT_ONCE, TOP
from fairseq_parp.decoding.searcher import NEVER, STEPS_PER_NAT

_LOG_2 = math.log(2)


@jit
def best_first(log_probs: Any, blank: Any, labels: Any, counts: Any, nbest: Any) -> Any:
    """Order K sequences by their sums over all alignments.

    Args:
        log_probs: (T, C) float64.
        blank: index of the blank symbol.
        labels, counts: (K, N) and (K,).
        nbest: how many to return at most.

    Returns:
        the places of the best, best first; of equals, those that stood first. Their scores, and positional scores
        (nbest, N), as those of ``Lattice.total``.
    """
    probabilities = np.exp(log_probs)
    fit = not ((log_probs < LEAST_SYMBOL) & (log_probs > NEVER)).any()
    scores = np.empty(counts.size)
    nothing = np.empty(0)
    for place in range(counts.size):
        scores[place] = _total(log_probs, probabilities, fit, blank, labels[place, : counts[place]], nothing)
    order = np.argsort(-np.rint(scores * STEPS_PER_NAT), kind="mergesort")[:nbest]
    positional = np.zeros((order.size, labels.shape[1]))
    for rank, place in enumerate(order):
        begun = positional[rank, : counts[place]]
        _total(log_probs, probabilities, fit, blank, labels[place, : counts[place]], begun)
        begun[counts[place] - 1 :] = scores[place]
        begun[1:] -= begun[:-1].copy()
    return order, scores[order], positional


@jit
def _total(log_probs: Any, probabilities: Any, fit: Any, blank: Any, labels: Any, begun: Any) -> Any:
    """Return the score of one sequence; ``begun``, if it is not empty, gets the log-probability of its beginnings."""
    score = _in_probabilities(probabilities, blank, labels, begun) if fit else NEVER
    return score if score > LEAST else _in_logs(log_probs, blank, labels, begun)


@jit
def _in_probabilities(probabilities: Any, blank: Any, labels: Any, begun: Any) -> Any:
    """Do what :func:`fairseq_parp.decoding.forward.totals` does, for one sequence."""
    count = labels.size
    skips = np.ones(count)
    skips[1:] = labels[1:] != labels[:-1]
    at_label, at_blank = np.zeros(count + 1), np.zeros(count + 1)
    next_label, next_blank = np.zeros(count + 1), np.zeros(count + 1)
    at_blank[0] = 2.0**TOP
    power = TOP
    here = np.zeros(begun.size)
    begun[:] = NEVER
    for start in range(0, len(probabilities), CHUNK):
        here[:] = 0.0
        for t in range(start, min(start + CHUNK, len(probabilities))):
            frame = probabilities[t]
            certain = frame[blank]
            next_blank[0] = at_blank[0] * certain
            for n in range(count):
                emitted = frame[labels[n]]
                next_label[n + 1] = (at_label[n + 1] + at_blank[n] + skips[n] * at_label[n]) * emitted
                next_blank[n + 1] = (at_blank[n + 1] + at_label[n + 1]) * certain
            for n in range(begun.size):
                here[n] += (at_blank[n] + skips[n] * at_label[n]) * frame[labels[n]]
            at_label, next_label = next_label, at_label
            at_blank, next_blank = next_blank, at_blank
        for n in range(begun.size):
            if here[n] > 0:
                begun[n] = logaddexp(begun[n], math.log(here[n]) - power * _LOG_2)
        more = min(TOP - math.frexp(max(at_label.max(), at_blank.max()))[1], MOST_AT_ONCE)
        at_label *= 2.0**more
        at_blank *= 2.0**more
        power += more
    final = at_blank[count] + at_label[count]
    return math.log(final) - power * _LOG_2 if final > 0 else NEVER


@jit
def _in_logs(log_probs: Any, blank: Any, labels: Any, begun: Any) -> Any:
    """Do the same in logarithms."""
    count = labels.size
    at_label, at_blank = np.full(count + 1, NEVER), np.full(count + 1, NEVER)
    at_blank[0] = 0.0
    begun[:] = NEVER
    for frame in log_probs:
        for n in range(count, 0, -1):
            emitted = frame[labels[n - 1]]
            entered = at_blank[n - 1]
            if n > 1 and labels[n - 1] != labels[n - 2]:
                entered = logaddexp(entered, at_label[n - 1])
            entered += emitted
            at_blank[n] = logaddexp(at_blank[n], at_label[n]) + frame[blank]
            at_label[n] = logaddexp(at_label[n] + emitted, entered)
            if begun.size:
                begun[n - 1] = logaddexp(begun[n - 1], entered)
        at_blank[0] += frame[blank]
    return logaddexp(at_blank[count], at_label[count])


@jit
def aligned(log_probs: Any, blank: Any, labels: Any) -> Any:
    """Find the most probable alignment of one sequence; see ``Lattice.align``.

    Returns:
        (N,) int64, the frame at which each label starts.
    """
    frames, states = len(log_probs), 2 * labels.size + 1
    best, before = np.full(states, NEVER), np.empty(states)
    best[0] = 0.0
    moves = np.zeros((frames, states), np.uint8)
    for t in range(frames):
        best, before = before, best
        for state in range(states):
            symbol = labels[state // 2] if state % 2 else blank
            came = before[state]
            if state > 0 and before[state - 1] > came:
                came, moves[t, state] = before[state - 1], 1
            if state > 1 and state % 2 and labels[state // 2 - 1] != symbol and before[state - 2] > came:
                came, moves[t, state] = before[state - 2], 2
            best[state] = came + log_probs[t, symbol]
    at = states - 2 if states > 1 and best[states - 2] > best[states - 1] else states - 1
    starts = np.zeros(labels.size, np.int64)
    for t in range(frames - 1, -1, -1):
        if at % 2:
            starts[at // 2] = t
        at -= moves[t, at]
    return starts
