"""Slow, obvious CTC: enumeration of every path, and the textbook prefix beam search over a dict."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import torch
from torch import Tensor

BLANK = 0
Labels = tuple[int, ...]


def collapse(path: Labels) -> Labels:
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK)


def path_scores(log_probs: Tensor) -> dict[Labels, float]:
    """Log-probability of each of the C^T paths of (T, C) log-probabilities; impossible paths left out."""
    rows = log_probs.double().tolist()
    every = itertools.product(range(log_probs.size(1)), repeat=len(rows))
    scores = {path: math.fsum(row[symbol] for row, symbol in zip(rows, path, strict=True)) for path in every}
    return {path: score for path, score in scores.items() if score > -math.inf}


def label_scores(log_probs: Tensor) -> dict[Labels, float]:
    """Log-probability of each label sequence: the sum over the paths that read so."""
    sums: dict[Labels, float] = defaultdict(float)
    for path, score in path_scores(log_probs).items():
        sums[collapse(path)] += math.exp(score)
    return {labels: math.log(total) for labels, total in sums.items()}


def beginning_score(scores: dict[Labels, float], beginning: Labels) -> float:
    """Log-probability that the label sequence begins so."""
    size = len(beginning)
    return math.log(sum(math.exp(score) for labels, score in scores.items() if labels[:size] == beginning))


def best_starts(log_probs: Tensor, labels: Labels) -> list[list[int]]:
    """Frames at which the labels start on the most probable path that reads so; each choice where paths tie to 1e-9."""
    paths = {path: score for path, score in path_scores(log_probs).items() if collapse(path) == labels}
    best = [path for path, score in paths.items() if score > max(paths.values()) - 1e-9]
    return [[t for t, symbol in enumerate(path) if symbol not in (BLANK, *path[:t][-1:])] for path in best]


def textbook_prefix_beam(
    log_probs: Tensor, beam: int, token_min_logp: float = -math.inf, beam_prune_logp: float = -math.inf
) -> set[Labels]:
    """Label sequences that a prefix beam search of this width ends with (in probabilities, no ties)."""
    beams: dict[Labels, tuple[float, float]] = {(): (1.0, 0.0)}
    for row in log_probs.double().exp().tolist():
        grown: dict[Labels, list[float]] = defaultdict(lambda: [0.0, 0.0])
        allowed = {s: p for s, p in enumerate(row) if p >= math.exp(token_min_logp) or p == max(row)}
        for prefix, (ends_blank, ends_label) in beams.items():
            for symbol, probability in allowed.items():
                if symbol == BLANK:
                    grown[prefix][0] += (ends_blank + ends_label) * probability
                elif prefix and symbol == prefix[-1]:
                    grown[prefix][1] += ends_label * probability
                    grown[(*prefix, symbol)][1] += ends_blank * probability
                else:
                    grown[(*prefix, symbol)][1] += (ends_blank + ends_label) * probability
        possible = [(prefix, (b, n)) for prefix, (b, n) in grown.items() if b + n > 0]
        ranked = sorted(possible, key=lambda item: -sum(item[1]))[:beam]
        least = sum(ranked[0][1]) * math.exp(beam_prune_logp)
        beams = {prefix: ends for prefix, ends in ranked if sum(ends) >= least}
    return set(beams)


def random_log_probs(seed: int, *shape: int, peak: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * peak).log_softmax(-1)
