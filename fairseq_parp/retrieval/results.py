"""Recall of a split's embeddings with intervals and chance, and the ranking of every query."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from fairseq_parp.grounded.recall import AT, Ranks, first, ranks, recall
from fairseq_parp.retrieval.embedding import Embedded
from fairseq_parp.scoring.bootstrap import Numbers, utterance_interval

LISTED = 5
"""Items that a ranking lists for each query."""


def ways(captions: str) -> dict[str, str]:
    """Return the directions by key: the picture of a caption is looked for, or a caption of a picture.

    >>> ways("speech")
    {'s2i': 'speech to image', 'i2s': 'image to speech'}
    """
    return {"s2i": f"{captions} to image", "i2s": f"image to {captions}"}


class Recall(NamedTuple):
    """Recall at k in one direction, all in percent.

    Attributes:
        way: key of :func:`ways`.
        k: queries count whose item is among the first k.
        value: the recall.
        low, high: 95 % bootstrap interval over the pictures.
        chance: expected recall of a random ranking.
    """

    way: str
    k: int
    value: float
    low: float
    high: float
    chance: float


class Ranking(NamedTuple):
    """The result of one query.

    Attributes:
        way: key of :func:`ways`.
        query: the caption's audio, or the picture's id.
        target: the picture's id, or the picture's captions, joined by commas.
        rank: rank of the target, from 1 on; ties count against the model.
        first: ids of the first pictures, or audio of the first captions.
    """

    way: str
    query: str
    target: str
    rank: int
    first: Sequence[str]


def measure(embedded: Embedded) -> tuple[Ranks, list[Recall]]:
    """Rank the whole gallery both ways.

    An interval resamples pictures, each with all its captions: captions of one picture are not independent.
    """
    found = ranks(embedded.captions, embedded.images, embedded.owners)
    owned = np.bincount(embedded.owners.numpy(), minlength=len(embedded.images))
    measured = []
    for k in AT:
        hits = np.bincount(embedded.owners.numpy(), (found.of_images <= k).numpy(), minlength=len(owned))
        chance = 100 * min(k, len(owned)) / len(owned)
        measured.append(Recall("s2i", k, recall(found.of_images, k), *_interval(hits, owned), chance))
    for k in AT:
        hits = (found.of_captions <= k).numpy().astype(float)
        least = float(100 * _any_among_first(k, owned, int(owned.sum())).mean())
        measured.append(Recall("i2s", k, recall(found.of_captions, k), *_interval(hits, np.ones_like(owned)), least))
    return found, measured


def rankings(embedded: Embedded, found: Ranks) -> Iterator[Ranking]:
    """Yield the ranking of every caption, then that of every picture."""
    images, captions = embedded.images, embedded.captions
    for number, row in enumerate(first(captions, images, LISTED).tolist()):
        target, rank = embedded.ids[int(embedded.owners[number])], int(found.of_images[number])
        yield Ranking("s2i", embedded.paths[number], target, rank, [embedded.ids[place] for place in row])
    owned: list[list[str]] = [[] for _ in embedded.ids]
    for path, image in zip(embedded.paths, embedded.owners.tolist(), strict=True):
        owned[image].append(path)
    for number, row in enumerate(first(images, captions, LISTED).tolist()):
        rank = int(found.of_captions[number])
        yield Ranking(
            "i2s", embedded.ids[number], ",".join(owned[number]), rank, [embedded.paths[place] for place in row]
        )


def as_table(listed: Iterator[Ranking]) -> str:
    """Return rankings as tab-separated lines under the names of the columns; ``first`` is a JSON list."""
    lines = ["\t".join(Ranking._fields)]
    lines += ["\t".join([*map(str, each[:4]), json.dumps(each.first, ensure_ascii=False)]) for each in listed]
    return "\n".join([*lines, ""])


def _interval(hits: Numbers, totals: Numbers) -> tuple[float, float]:
    found = utterance_interval(hits, np.zeros_like(hits), totals.tolist())
    return found if found is not None else (float("nan"), float("nan"))


def _any_among_first(k: int, owned: Numbers, captions: int) -> Numbers:
    """Return the probability that one of a picture's captions is among the first k of a random order of all.

    Args:
        k: number of first captions.
        owned: (M,) number of captions of each picture.
        captions: number of all captions.
    """
    others = captions - owned
    miss = gammaln(others + 1) - gammaln(np.maximum(others - k, 0) + 1)
    miss += gammaln(captions - min(k, captions) + 1) - gammaln(captions + 1)
    return np.asarray(np.where(others < k, 1.0, 1 - np.exp(miss)))
