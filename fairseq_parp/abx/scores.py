"""ABX errors within and across speakers, averaged as in the ZeroSpeech challenge of 2021 (Nguyen et al. 2020).

Of tokens in the same context, X and A are of one phone, B is of another: an error is B nearer to X than A is, a tie is
half an error. Within a speaker all three are of that speaker, and X is another token than A. Across, A and B are of one
speaker and X is of another. Errors are averaged over the contexts, across then over the speakers of X, then over the
speakers of A and B, then over the ordered pairs of phones. Chance is 50 %.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.abx.distances import Floats, token_distances
from fairseq_parp.manifests.items import Item

T = TypeVar("T")
Pair = tuple[str, str]

MAX_TOKENS, MAX_SPEAKERS = 10, 5
"""Tokens of a phone, context and speaker, and speakers of X for one A, at most, as ZeroSpeech; others are left out."""


@dataclass(frozen=True)
class Scores:
    """ABX errors in per cent; NaN where no tokens can be compared.

    Attributes:
        within, across: errors.
        pairs_within, pairs_across: ordered pairs of phones that they are means of.
    """

    within: float
    across: float
    pairs_within: int
    pairs_across: int


Groups = list[dict[str, dict[str, list[int]]]]
"""Of each context that can be compared: numbers of tokens by speaker and phone."""


def groups_of(items: Sequence[Item], usable: Callable[[int], bool] = lambda _: True, seed: int = 0) -> Groups:
    """Put tokens together by context, speaker and phone, ``MAX_TOKENS`` at most.

    Args:
        items: all tokens.
        usable: whether the token of a number has frames.
        seed: seed of the random choice among too many tokens.
    """
    found: dict[Pair, dict[str, dict[str, list[int]]]] = {}
    for number, item in enumerate(items):
        if usable(number):
            speakers = found.setdefault(item.context, {})
            speakers.setdefault(item.speaker, {}).setdefault(item.phone, []).append(number)
    chance = random.Random(seed)
    for speakers in found.values():
        for phones in speakers.values():
            for phone, numbers in phones.items():
                if len(numbers) > MAX_TOKENS:
                    phones[phone] = sorted(chance.sample(numbers, MAX_TOKENS))
    return [speakers for speakers in found.values() if len({p for phones in speakers.values() for p in phones}) > 1]


def abx(groups: Groups, tokens: Mapping[int, NDArray[np.float32]], seed: int = 0) -> Scores:
    """Compute the errors of one layer.

    Args:
        groups: see :func:`groups_of`.
        tokens: (frames, channels) by the token's number.
        seed: seed of the random choice if X has more than ``MAX_SPEAKERS`` speakers.
    """
    within: dict[tuple[Pair, str], list[float]] = defaultdict(list)
    across: dict[tuple[Pair, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    chance = random.Random(seed)
    for speakers in groups:
        for speaker, phones in speakers.items():
            own = [number for each in phones.values() for number in each]
            foreign = {a: _of_others(a, speaker, speakers, chance) for a in phones}
            if len(phones) < 2:
                continue
            rows = [*own, *(number for found in foreign.values() for each in found.values() for number in each)]
            distances = token_distances([tokens[number] for number in rows], [tokens[number] for number in own])
            place = {number: at for at, number in enumerate(rows)}
            at = {phone: np.array([place[number] for number in each]) for phone, each in phones.items()}
            for a, tokens_a in at.items():
                rivals = {b: tokens_b for b, tokens_b in at.items() if b != a}
                if len(tokens_a) > 1:
                    for b, error in _errors(distances[tokens_a], tokens_a, rivals, itself=True):
                        within[(a, b), speaker].append(error)
                for other, numbers in foreign[a].items():
                    for b, error in _errors(distances[[place[number] for number in numbers]], tokens_a, rivals):
                        across[(a, b), speaker][other].append(error)
    over_x = {key: [statistics.fmean(each) for each in found.values()] for key, found in across.items()}
    return Scores(_mean(within), _mean(over_x), _pairs(within), _pairs(over_x))


def _of_others(
    phone: str, speaker: str, speakers: Mapping[str, Mapping[str, list[int]]], chance: random.Random
) -> dict[str, list[int]]:
    """Return the tokens of a phone by other speakers, ``MAX_SPEAKERS`` at most."""
    others = [other for other, phones in speakers.items() if other != speaker and phone in phones]
    if len(others) > MAX_SPEAKERS:
        others = chance.sample(others, MAX_SPEAKERS)
    return {other: speakers[other][phone] for other in others}


def _errors(
    near: Floats, a: NDArray[np.int64], rivals: Mapping[str, NDArray[np.int64]], itself: bool = False
) -> Iterator[tuple[str, float]]:
    """Yield, for each phone B, the share of (X, A, B) in which B is nearer to X than A.

    Args:
        near: (X, tokens) distances.
        a: the tokens A.
        rivals: the tokens B by their phone.
        itself: whether X are the tokens A; no token is compared with itself.
    """
    to_a = near[:, a]
    others = ~np.eye(len(a), dtype=np.bool_) if itself else np.ones(to_a.shape, dtype=np.bool_)
    to_a = to_a[others].reshape(len(near), -1, 1)
    for phone, b in rivals.items():
        to_b = near[:, None, b]
        wrong, ties = np.count_nonzero(to_b < to_a), np.count_nonzero(to_b == to_a)
        yield phone, (wrong + ties / 2) / (to_a.size * len(b))


def _mean(found: Mapping[tuple[Pair, str], Iterable[float]]) -> float:
    """Average over contexts (the values), then speakers, then pairs; in per cent."""
    by_pair: dict[Pair, list[float]] = defaultdict(list)
    for (pair, _), errors in found.items():
        by_pair[pair].append(statistics.fmean(errors))
    return 100 * statistics.fmean(map(statistics.fmean, by_pair.values())) if by_pair else float("nan")


def _pairs(found: Iterable[tuple[Pair, str]]) -> int:
    return len({pair for pair, _ in found})
