"""Rows: a compact file's size, and loading it beside a dense safetensors file, each into a model that is there."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.rows import Bar, Job, Row, compare, compare_bytes, in_turn, unmeasured
from benchmarks.weights import BASE, Size, Weights, fresh, session_of
from fairseq_parp.checkpoints import compact, load_into

SPARSITIES = (0.5, 0.7, 0.9)
CONTENT, ZSTD = Bar(1.002), Bar(1.0)
LEVEL = 3


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; ``size`` replaces the model's in tests."""
    for sparsity in SPARSITIES:
        what = f"compact file, {{}}: {sparsity:.0%} zeros"
        names = [what.format(each) for each in ("loading", "bytes beside values and bits", "bytes beside zstd")]
        yield Job(names, functools.partial(_rows, names, size or BASE, sparsity))


def _rows(names: list[str], size: Size, sparsity: float) -> Iterator[Row]:
    weights = fresh(size)
    session_of(weights, sparsity).prune(0)
    with tempfile.TemporaryDirectory() as place:
        dense, small = Path(place) / "dense.safetensors", Path(place) / "compact.safetensors"
        save_file(weights, dense)
        small.write_bytes(compact.encode(weights, {}))
        yield _loading(names[0], weights, dense, small)
        written = [float(small.stat().st_size)]
        yield compare_bytes(names[1], CONTENT, "values and mask bits", written, [_content(weights)])
        peer = f"zstd -{LEVEL} of the dense file"
        if importlib.util.find_spec("zstandard") is None:
            yield unmeasured(names[2], ZSTD, peer, "not installed: pip install zstandard", "bytes")
            return
        import zstandard

        packed = zstandard.ZstdCompressor(LEVEL).compress(dense.read_bytes())
        yield compare_bytes(names[2], ZSTD, peer, written, [float(len(packed))])


def _loading(name: str, weights: Weights, dense: Path, small: Path) -> Row:
    """Return the cost of filling ``weights``; both files are in the cache."""
    ours, peer = lambda: load_into(weights, small), lambda: _fill(weights, load_file(dense))
    bar = Bar(1.5)
    return compare(name, bar, "a dense safetensors file", *in_turn(lambda: None, ours, peer, [bar]))


def _content(weights: Weights) -> float:
    """Return the bytes of the kept values and of one bit for each weight."""
    return sum(4 * int(weight.count_nonzero()) + weight.numel() / 8 for weight in weights.values())


def _fill(model: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> None:
    for name, value in loaded.items():
        model[name].copy_(value)
