"""Rows: the time that ``s3_router`` adds to an update of wav2vec 2.0 base whose feed-forward maps are masked.

All passes are counted: gradients to scores, the exchange of weights and scores, the search for NaN and infinity, the
masks, and the masked weights. An update has one micro-batch, without fp32 masters.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.memory import transient_bytes
from benchmarks.reprune import COPY
from benchmarks.rows import NO_BAR, Bar, Job, Row, compare, compare_bytes, in_turn
from benchmarks.training import STOCK
from benchmarks.trainings import SECONDS, Training, write_inputs
from benchmarks.weights import BASE, Size
from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.methods.s3_router import S3Router

_ROWS = (
    "learned masks, all passes of an update",
    "learned masks, memory beside the model",
    "learned masks, transient memory",
)
_SHARE = "learned masks, share of an update"


class Stage:
    """Feed-forward weights with their gradients, and room for copies of them."""

    def __init__(self, size: Size) -> None:
        torch.manual_seed(1)
        shapes = [(4 * size.width, size.width), (size.width, 4 * size.width)] * size.layers
        self.weights = {f"w{n}": torch.nn.Parameter(0.02 * torch.randn(shape)) for n, shape in enumerate(shapes)}
        self.gradients = {name: torch.randn_like(each) for name, each in self.weights.items()}
        self.copies = {name: torch.empty_like(each) for name, each in self.weights.items()}
        parameters = {name: PrunedParameter(each) for name, each in self.weights.items()}
        self.session = PruningSession(parameters, read_config(method="s3_router", sparsity=0.1))
        self.session.before_forward(0)
        self.updates = 0

    @property
    def method(self) -> S3Router:
        """The session's method."""
        assert isinstance(self.session.method, S3Router)
        return self.session.method

    def restore(self) -> None:
        """Move the scores a little, as an optimizer does."""
        for each in self.method.state_dict()["scores"].values():  # on the CPU these are the scores themselves
            each.add_(torch.randn_like(each), alpha=1e-4)

    def passes(self) -> None:
        """Make the measured passes."""
        self.updates += 1
        self.session.before_forward(self.updates)
        for name, gradient in self.gradients.items():
            self.method.to_scores(name, gradient)
        self.session.before_step(self.updates)
        self.session.after_step(self.updates)

    def copy(self) -> None:
        """Read and write every weight once, as plainly as torch can."""
        for name, weight in self.weights.items():
            self.copies[name].copy_(weight.detach())

    def held(self) -> int:
        """Return the bytes that the method holds, without the mask's bits."""
        return sum(each.nbytes for each in self.method.tensors())


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; ``size`` replaces the model's in tests, which also takes a second of audio instead of ten."""
    yield Job(_ROWS, functools.partial(_passes, size or BASE))
    yield Job([_SHARE], functools.partial(_share, size or BASE, 1 if size else SECONDS))


def _passes(size: Size) -> Iterator[Row]:
    at = Stage(size)
    yield compare(_ROWS[0], Bar(5.0), COPY, *in_turn(at.restore, at.passes, at.copy))
    scored = sum(each.nbytes for each in at.weights.values())
    yield compare_bytes(_ROWS[1], Bar(2.0), "the scored weights", [at.held()], [scored])
    bits = sum(each.nbytes for each in at.session.mask.bits.values()) if at.session.mask else 0
    found = [max(1, transient_bytes(at.passes) - bits) for _ in range(3)]
    yield compare_bytes(_ROWS[2], NO_BAR, "the scored weights", found, [scored] * len(found))


def _share(size: Size, seconds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder, size)
        at, full = Stage(size), Training(folder, None, seconds)
        full.update()
        yield compare(_SHARE, NO_BAR, STOCK, *in_turn(at.restore, at.passes, full.update))
