"""Rows: recall between captions and pictures at the size of SpokenCOCO's test split, against fixed limits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch

from benchmarks import rows
from benchmarks.cost import Cost, measured
from benchmarks.memory import transient_bytes
from benchmarks.rows import Bar, Job, Row, compare, compare_bytes
from benchmarks.weights import Size
from fairseq_parp.grounded.recall import ranks, recalls

CAPTIONS, IMAGES, WIDTH = 25_000, 5_000, 768
LIMIT_SECONDS, LIMIT_BYTES = 30.0, 2 * 10**9

_ROWS = ("recall, 25,000 captions x 5,000 pictures", "recall, 25,000 captions x 5,000 pictures, memory")


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; with a ``size``, as in tests, a gallery of a hundredth is searched."""
    yield Job(_ROWS, functools.partial(_recall, 100 if size else 1))


def _recall(part: int) -> Iterator[Row]:
    search = _search(CAPTIONS // part, IMAGES // part)
    limit = Cost(LIMIT_SECONDS, LIMIT_SECONDS)
    costs = [measured(search) for _ in range(rows.RUNS_OF_SLOWEST)]
    yield compare(_ROWS[0], Bar(1), "30 seconds", costs, [limit] * len(costs))
    sizes = [max(1, transient_bytes(search)) for _ in range(rows.RUNS_OF_SLOWEST)]
    yield compare_bytes(_ROWS[1], Bar(1), "2 GB", sizes, [LIMIT_BYTES] * len(sizes))


def _search(captions: int, images: int) -> Callable[[], object]:
    """Return a search both ways among random embeddings; every picture has as many captions."""
    generator = torch.Generator().manual_seed(1)
    shown, said = (torch.randn(count, WIDTH, generator=generator) for count in (images, captions))
    owners = torch.arange(captions) % images
    return lambda: recalls(ranks(said, shown, owners))
