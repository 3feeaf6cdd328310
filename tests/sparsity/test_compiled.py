"""The passes in C++ against those in numpy: every implementation that this processor has, at every way through them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fairseq_parp import native
from fairseq_parp.sparsity import kernels
from fairseq_parp.sparsity.kernels import Found, MaskChunk, MaskedCopy, ThresholdChunk, chunkwise
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.compiled import Compiled, levels

PART = "sparsity.kernels.passes"
LIBRARY = native.load(PART)
INFINITY = 0x7F80_0000
SIZES = [0, 1, 7, 63, 64, 65, 127, 511, 512, 513, 4095, 4096, 32_767, 32_768, 32_769, 70_001]
"""Less than a word; words; all streams, some of them; whole blocks and what is left of one."""

compiled_here = pytest.mark.skipif(LIBRARY is None, reason="not compiled here")
pytestmark = compiled_here


@pytest.fixture(params=range(levels(LIBRARY)) if LIBRARY else [])
def kernel(request: pytest.FixtureRequest) -> Compiled:
    assert LIBRARY is not None
    return Compiled(LIBRARY, request.param)


@pytest.fixture
def numpys() -> Arrays:
    return Arrays(torch.float32)


def draw(chance: np.random.Generator, size: int) -> NDArray[np.uint32]:
    """Draw floats as they lie in memory, some of which are zero, equal, or as large and small as they come."""
    values = chance.standard_normal(size).astype(np.float32)
    some = chance.random(size) < 0.3
    values[some] = chance.choice(np.array([0, -0.0, 1, -1, 1e-45, 3.4e38, -3.4e38], np.float32), int(some.sum()))
    return values.view(np.uint32)


def some_keys(chance: np.random.Generator, values: NDArray[np.uint32]) -> list[int]:
    """Draw keys to compare with: those of values, those beside them, and the ends."""
    own = [] if not values.size else [int(value) & 0x7FFF_FFFF for value in chance.choice(values, 3)]
    return [0, 1, 2, INFINITY - 1, INFINITY, *own, *(key + 1 for key in own)]


@pytest.mark.parametrize("size", SIZES)
def test_look(kernel: Compiled, numpys: Arrays, size: int) -> None:
    chance = np.random.default_rng(size)
    values = draw(chance, size)
    for _ in range(20):
        low, high = chance.choice(some_keys(chance, values), 2)
        for most in (0, 5, size):
            assert_same(*(each.count_and_collect([values], int(low), int(high), most) for each in (kernel, numpys)))


def assert_same(one: Found, other: Found) -> None:
    assert np.array_equal(one.below, other.below)
    assert np.array_equal(one.inside, other.inside)
    assert one.finite == other.finite
    if other.keys is None:
        assert one.keys is None
        return
    assert one.keys is not None
    assert len(one.keys) == len(other.keys)
    for ours, theirs, many in zip(one.starts, other.starts, other.inside, strict=True):
        assert np.array_equal(one.keys[ours : ours + many], other.keys[theirs : theirs + many])


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let several threads share chunks that are far from worth it."""
    monkeypatch.setattr(chunkwise, "WORTH_THREADS", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


@pytest.mark.usefixtures("threads")
def test_threads_share_chunks_and_find_all_keys(kernel: Compiled, numpys: Arrays) -> None:
    chance = np.random.default_rng(0)
    for _ in range(100):
        chunks = [draw(chance, int(size)) for size in chance.integers(0, 3000, 17)]
        low, high = sorted(int(key) for key in chance.choice(some_keys(chance, np.concatenate(chunks)), 2))
        inside = int(numpys.count_and_collect(chunks, low, high, 0).inside.sum())
        for room in {0, 5, inside - 1, inside, inside + 1} - {-1}:
            assert_same(*(each.count_and_collect(chunks, low, high, room) for each in (kernel, numpys)))
        for step in (1, 7, 5000):
            assert np.array_equal(kernel.sample(chunks, step), numpys.sample(chunks, step))


@pytest.mark.usefixtures("threads")
def test_threads_sweep_each_chunk_once(kernel: Compiled, numpys: Arrays) -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        chunks = [draw(chance, int(size)) for size in chance.integers(0, 3000, 17)]
        key = int(chance.choice(some_keys(chance, np.concatenate(chunks))))
        splits = [int(chance.integers(values.size + 1)) for values in chunks]
        ours, theirs = (
            [target_of(values.copy(), split) for values, split in zip(chunks, splits, strict=True)] for _ in range(2)
        )
        assert kernel.apply_threshold(ours, key) == numpys.apply_threshold(theirs, key)
        assert_same_after(ours, theirs)


def target_of(values: NDArray[np.uint32], split: int, zero: bool = True, before: Any = None) -> ThresholdChunk:
    """Describe what a sweep does to a chunk, with bits in which all still has to be written."""
    return ThresholdChunk(values, values if zero else None, split, np.full(-(-values.size // 8), 255, np.uint8), before)


def assert_same_after(ours: list[ThresholdChunk], theirs: list[ThresholdChunk]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.bits, other.bits)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("size", [1, 63, 64, 200, 33_000])
def test_a_number_that_is_not_finite_is_seen_at_every_place(kernel: Compiled, bad: float, size: int) -> None:
    values = np.zeros(size, np.float32)
    assert kernel.count_and_collect([values.view(np.uint32)], 0, 1, 0).finite
    for place in {0, 1, size // 2, size - 65, size - 2, size - 1} & set(range(size)):
        values[place] = bad
        assert not kernel.count_and_collect([values.view(np.uint32)], 0, 1, 0).finite
        values[place] = 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("zero", [True, False])
def test_sweep(kernel: Compiled, numpys: Arrays, size: int, zero: bool) -> None:
    chance = np.random.default_rng(size)
    values = draw(chance, size)
    before = np.packbits(chance.random(size) < 0.5, bitorder="little")
    for key in some_keys(chance, values):
        for split in {0, 1, 64, size // 2, size - 1, size} & set(range(size + 1)):
            for earlier in (before, None):
                ours, theirs = ([target_of(values.copy(), split, zero, earlier)] for _ in range(2))
                assert kernel.apply_threshold(ours, key) == numpys.apply_threshold(theirs, key)
                assert_same_after(ours, theirs)


def test_nothing_is_touched_beside_what_was_asked_for(kernel: Compiled) -> None:
    """Chunks lie side by side in one tensor, and threads work on neighbours at the same time."""
    for size in (1, 8, 100, 1000):
        values, bits = np.full(size + 2, 7, np.uint32), np.full(-(-size // 8) + 2, 0b1010_1010, np.uint8)
        inner = values[1:-1]
        kernel.apply_threshold([ThresholdChunk(inner, inner, 0, bits[1:-1], None)], 8)
        assert values.tolist() == [7] + [0] * size + [7]
        assert bits.tolist() == [0b1010_1010] + [0] * (len(bits) - 2) + [0b1010_1010]
        aside = np.arange(1, size + 3, dtype=np.uint32)
        kernel.scatter([(inner, aside[1:-1])])
        assert values.tolist() == [7, *range(2, size + 2), 7]
        aside[:] = 7
        kernel.apply_mask([MaskChunk(inner, bits[1:-1], aside[1:-1])])
        assert values.tolist() == [7] + [0] * size + [7]
        assert aside.tolist() == [7, *range(2, size + 2), 7]


def test_the_fastest_implementation_is_the_usual_one(kernel: Compiled) -> None:
    assert LIBRARY is not None
    assert Compiled(LIBRARY).level == levels(LIBRARY) - 1 >= kernel.level


@pytest.mark.parametrize("damage", ["not there", "empty", "from another source"])
def test_without_a_library_that_fits_numpy_does_the_work(tmp_path: Path, damage: str) -> None:
    """In a copy of the package, as after an update that was not compiled again."""
    package = Path(native.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pt"))
    folder = tmp_path / package.name / "sparsity" / "kernels"
    (library,) = (package / "sparsity" / "kernels").glob("passes*.so")
    if damage == "empty":
        (folder / library.name).touch()
    elif damage == "from another source":
        shutil.copy(library, folder)
        with (folder / "passes.cpp").open("a") as source:
            source.write("// changed\n")
    program = "import torch; from fairseq_parp.sparsity import kernels; print(kernels.choose([torch.zeros(3)]))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program] if sys.version_info >= (3, 11) else [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert ".Arrays object" in done.stdout, done.stdout + done.stderr


def test_the_library_that_was_compiled_from_this_source_is_used() -> None:
    assert type(kernels.choose([torch.zeros(3)])).__name__ == "Compiled"


@pytest.mark.parametrize("size", SIZES)
def test_masked_copy(kernel: Compiled, size: int) -> None:
    chance = np.random.default_rng(size)
    values, kept = draw(chance, size), chance.random(size) < 0.4
    into, bits = np.full(size, 7, np.uint32), np.packbits(kept, bitorder="little")
    kernel.copy_masked([MaskedCopy(into, values, bits)])
    assert np.array_equal(into, np.where(kept, values, 0))
