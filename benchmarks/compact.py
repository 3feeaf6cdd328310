"""Rows: loading a compact file beside a dense safetensors file, each into a model that is there, from a warm cache."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.rows import Bar, Job, Row, compare, in_turn
from benchmarks.weights import BASE, Size, fresh, session_of
from fairseq_parp.checkpoints import compact

SPARSITIES = (0.5, 0.7, 0.9)


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; ``size`` replaces the model's in tests."""
    for sparsity in SPARSITIES:
        name = f"compact file, loading: {sparsity:.0%} zeros"
        yield Job([name], functools.partial(_loading, name, size or BASE, sparsity))


def _loading(name: str, size: Size, sparsity: float) -> Iterator[Row]:
    weights = fresh(size)
    session_of(weights, sparsity).prune(0)
    with tempfile.TemporaryDirectory() as place:
        dense, small = Path(place) / "dense.safetensors", Path(place) / "compact.safetensors"
        save_file(weights, dense)
        small.write_bytes(compact.encode(weights, {}))
        costs = in_turn(
            lambda: None,
            lambda: _fill(weights, compact.decode(small.read_bytes())[0]),
            lambda: _fill(weights, load_file(dense)),
        )
    yield compare(name, Bar(1.5), "a dense safetensors file", *costs)


def _fill(model: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> None:
    for name, value in loaded.items():
        model[name].copy_(value)
