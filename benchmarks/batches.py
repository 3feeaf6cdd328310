"""Rows: encoding a test set with each utterance as alone, beside stock fairseq's padded batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from benchmarks.generation import LONGEST, SHORTEST
from benchmarks.rows import Bar, Job, Row, compare, in_turn
from benchmarks.trainings import random_model
from benchmarks.weights import BASE, Size
from fairseq_parp.decoding.alone import each_alone

UTTERANCES = 16

MAX_TOKENS = 1_280_000
"""Samples of a batch, as the documentation decodes."""

SMALL = Size(6, 256)


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield a job for base and one for a small model; ``size`` replaces both in tests, with fewer utterances."""
    for title, usual in (("base", BASE), ("small", SMALL)):
        name = f"encoding batches, each utterance as alone: {title}"
        yield Job([name], functools.partial(_row, name, size or usual, 4 if size else UTTERANCES))


def _row(name: str, size: Size, utterances: int) -> Iterator[Row]:
    model = random_model(size).eval()
    model.remove_pretraining_modules()
    encoder, batches = _Encoder(model), list(_batches(utterances))

    def stock() -> None:
        for batch in batches:
            encoder(**batch)

    def alone() -> None:
        for batch in batches:
            with each_alone(encoder, batch):
                encoder(**batch)

    with torch.no_grad():
        bar = Bar(1.0)
        yield compare(name, bar, "padded batches", *in_turn(lambda: None, alone, stock, [bar]))


class _Encoder(nn.Module):
    """The model without masking and head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, padding_mask: Tensor) -> dict[str, Any]:
        found: dict[str, Any] = self.model.extract_features(source, padding_mask)
        return found


def _batches(utterances: int) -> Iterator[Mapping[str, Tensor]]:
    """Yield batches of noise, the longest utterances first, as fairseq-generate does."""
    lengths = (16_000 * np.linspace(LONGEST, SHORTEST, utterances)).astype(int).tolist()
    torch.manual_seed(1)
    while lengths:
        some, lengths = lengths[: MAX_TOKENS // lengths[0]], lengths[MAX_TOKENS // lengths[0] :]
        source = pad_sequence([torch.randn(length) for length in some], batch_first=True)
        yield {"source": source, "padding_mask": torch.arange(source.size(1)) >= torch.tensor(some)[:, None]}
