"""Which prefixes survive, for one utterance: the loops of the compiled search.

A prefix is a node of a tree that holds every prefix that ever was a beam. The row of a node is

==========  =========================================================
``PARENT``  the node of the prefix without the last label; -1: none
``LABEL``   the last label; the blank for the empty prefix
``CHILD``   the last child that was added; -1: none
``NEXT``    the child of the same parent that was added before; -1
``BEAM``    its place among the beams; -1 if it is none at the moment
``DEPTH``   labels of the prefix
==========  =========================================================
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fairseq_parp.compiling import jit
from fairseq_parp.decoding.searcher import NEVER, STEPS_PER_NAT

PARENT, LABEL, CHILD, NEXT, BEAM, DEPTH = range(6)


@jit
def logaddexp(one: Any, other: Any) -> Any:
    """Return log(exp(one) + exp(other))."""
    high, low = max(one, other), min(one, other)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))


@jit
def survivors(log_probs: Any, blank: Any, beam: Any, token_min_logp: Any, beam_prune_logp: Any) -> Any:
    """Search one utterance.

    Args:
        log_probs: (T, C) float64.
        blank, beam: see ``PrefixBeamSearcher``.
        token_min_logp, beam_prune_logp: see ``Pruning``.

    Returns:
        the labels (K, N) of the prefixes that survive, best first, and how many each has (K,).
    """
    frames, symbols = log_probs.shape
    tree = np.empty((1 + beam * frames, 6), np.int32)
    nodes = _add(tree, 0, -1, blank)
    prefixes = np.zeros(beam, np.int32)
    tree[0, BEAM] = 0
    alive = 1
    ends = np.full((2, beam), NEVER)  # log-probabilities of the paths that end in a blank, and in the last label
    ends[0, 0] = 0.0
    stays = np.empty((2, beam))
    totals = np.empty(beam)
    read, grow, column = np.empty(symbols), np.empty(symbols, np.int64), np.empty(symbols, np.int64)
    scores = np.empty(0)
    was_certain = False
    for frame in log_probs:
        many = _read(frame, blank, token_min_logp, read, grow, column)
        certain = many == 0 and read[blank] > NEVER
        if certain and was_certain:
            continue  # it adds nothing
        was_certain = certain
        if certain:
            read[blank] = 0.0  # what all pay alike decides nothing
        size = alive * (1 + many)
        if scores.size < size:
            scores = np.empty(size)
        _score(tree, prefixes[:alive], ends, read, grow[:many], column, blank, totals, stays, scores)
        kept = _best(scores[:size], beam, beam_prune_logp)
        nodes = _advance(tree, nodes, prefixes, alive, ends, stays, scores, kept, grow[:many])
        alive = kept.size
        if alive == 0:
            break
    return _spell(tree, prefixes[:alive])


@jit
def _read(frame: Any, blank: Any, token_min_logp: Any, read: Any, grow: Any, column: Any) -> Any:
    """Copy a frame to ``read`` without what is pruned; list the symbols that a prefix may grow by, and count them.

    ``column`` gets each symbol's place in that list, or -1.
    """
    least = min(frame.max(), token_min_logp)
    many = 0
    for symbol in range(frame.size):
        read[symbol] = frame[symbol] if frame[symbol] >= least else NEVER
        column[symbol] = -1
        if symbol != blank and read[symbol] > NEVER:
            grow[many] = symbol
            column[symbol] = many
            many += 1
    return many


@jit
def _score(
    tree: Any, prefixes: Any, ends: Any, read: Any, grow: Any, column: Any, blank: Any, totals: Any, stays: Any,
    scores: Any,
) -> Any:  # fmt: skip
    """Score every continuation by one frame: K prefixes left as they are (``stays``), then K x M longer ones."""
    many, alive = grow.size, prefixes.size
    for place in range(alive):
        last = tree[prefixes[place], LABEL]
        total = totals[place] = logaddexp(ends[0, place], ends[1, place])
        stays[0, place] = total + read[blank]
        stays[1, place] = ends[1, place] + read[last]
        start = alive + place * many
        for j in range(many):
            scores[start + j] = total + read[grow[j]]
        if column[last] >= 0:  # the same label again is a new one only after a blank
            scores[start + column[last]] = ends[0, place] + read[last]
    for place in range(alive):
        parent, last = tree[prefixes[place], PARENT], tree[prefixes[place], LABEL]
        if parent >= 0 and tree[parent, BEAM] >= 0 and column[last] >= 0:  # what grows into this prefix belongs here
            source = alive + tree[parent, BEAM] * many + column[last]
            stays[1, place] = logaddexp(stays[1, place], scores[source])
            scores[source] = NEVER
        scores[place] = logaddexp(stays[0, place], stays[1, place])


@jit
def _best(scores: Any, beam: Any, beam_prune_logp: Any) -> Any:
    """Return the places of the best candidates, best first; of equals, those that stand first."""
    ranks = np.rint(scores * STEPS_PER_NAT)
    places = np.nonzero((ranks >= ranks.max() + beam_prune_logp * STEPS_PER_NAT) & (ranks > NEVER))[0]
    ranks = ranks[places]
    if places.size > beam:
        cut = np.partition(ranks, places.size - beam)[places.size - beam]
        chosen = ranks > cut
        chosen[np.nonzero(ranks == cut)[0][: beam - chosen.sum()]] = True
        places, ranks = places[chosen], ranks[chosen]
    return places[np.argsort(-ranks, kind="mergesort")]


@jit
def _advance(
    tree: Any, nodes: Any, prefixes: Any, alive: Any, ends: Any, stays: Any, scores: Any, kept: Any, grow: Any
) -> Any:
    """Make the candidates at ``kept`` the beams; return how many nodes the tree has then."""
    before = prefixes[:alive].copy()
    for node in before:
        tree[node, BEAM] = -1
    for place, candidate in enumerate(kept):
        if candidate < alive:
            node = before[candidate]
            ends[0, place], ends[1, place] = stays[0, candidate], stays[1, candidate]
        else:
            origin, symbol = divmod(candidate - alive, grow.size)
            node = _child(tree, nodes, before[origin], grow[symbol])
            nodes = max(nodes, node + 1)
            ends[0, place], ends[1, place] = NEVER, scores[candidate]
        prefixes[place] = node
        tree[node, BEAM] = place
    return nodes


@jit
def _child(tree: Any, nodes: Any, parent: Any, label: Any) -> Any:
    """Return the node of a prefix with one label more: one that is there, or a new one, number ``nodes``."""
    node = tree[parent, CHILD]
    while node >= 0 and tree[node, LABEL] != label:
        node = tree[node, NEXT]
    if node < 0:
        node = nodes
        _add(tree, node, parent, label)
        tree[node, NEXT], tree[parent, CHILD] = tree[parent, CHILD], node
        tree[node, DEPTH] = tree[parent, DEPTH] + 1
    return node


@jit
def _add(tree: Any, node: Any, parent: Any, label: Any) -> Any:
    """Write a node without relatives but its parent; return the number of the next."""
    tree[node] = -1
    tree[node, PARENT], tree[node, LABEL], tree[node, DEPTH] = parent, label, 0
    return node + 1


@jit
def _spell(tree: Any, prefixes: Any) -> Any:
    """Return labels (K, N), 0 past the end, and counts (K,) of prefixes."""
    counts = tree[prefixes, DEPTH].astype(np.int64)
    labels = np.zeros((prefixes.size, counts.max() if counts.size else 0), np.int64)
    for place, node in enumerate(prefixes):
        for position in range(counts[place] - 1, -1, -1):
            labels[place, position] = tree[node, LABEL]
            node = tree[node, PARENT]
    return labels, counts
