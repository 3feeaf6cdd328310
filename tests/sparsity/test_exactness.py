"""Exactness: ten thousand small adversarial cases against a stable sort, and the real sizes against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.magnitude import magnitude_mask

CASES = 2_500
"""For each of four widths: 10,000 together."""

KINDS = ("normal", "few values", "subnormal", "mixed scales", "half zeros", "all equal", "extremes")


def draw(chance: np.random.Generator, kind: str, size: int, dtype: torch.dtype) -> Tensor:
    """Draw ``size`` numbers whose order by magnitude is easy to get wrong."""
    info = torch.finfo(dtype)
    signs = chance.choice([-1.0, 1.0], size)
    if kind == "few values":
        values = chance.integers(0, 4, size) / 4
    elif kind == "subnormal":
        values = info.smallest_normal * chance.integers(0, 1024, size) / 1024
    elif kind == "mixed scales":
        values = 2.0 ** chance.uniform(np.log2(info.tiny), np.log2(info.max) - 1, size)
    elif kind == "half zeros":
        values = chance.standard_normal(size) * chance.integers(0, 2, size)
    elif kind == "all equal":
        values = np.full(size, float(chance.choice([0.0, 0.1, info.smallest_normal])))
    elif kind == "extremes":
        values = chance.choice([0.0, info.smallest_normal, info.max, info.eps, 1.0], size)
    else:
        values = chance.standard_normal(size)
    return torch.from_numpy(signs * values).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_against_a_stable_sort(kernel: str, sizes: str, dtype: torch.dtype) -> None:
    if kernel == "compiled" and dtype != torch.float32:
        pytest.skip("numpy's part, which has its own case")
    chance = np.random.default_rng(1)
    for case in range(CASES if sizes == "usual sizes" else CASES // 8):
        kind = KINDS[case % len(KINDS)]
        lengths = chance.choice([0, 1, 2, 3, 7, 8, 9, 30], int(chance.integers(1, 5)))
        tensors = {str(number): draw(chance, kind, int(size), dtype) for number, size in enumerate(lengths)}
        flat = torch.cat(list(tensors.values())).double().abs()
        sparsity = float(chance.choice([0.0, 0.1, 0.5, 0.9, 0.999, 1.0, round(chance.random(), 3)]))
        expected = torch.ones(len(flat), dtype=torch.bool)
        expected[flat.sort(stable=True).indices[: zero_count(sparsity, len(flat))]] = False
        mask = magnitude_mask(tensors, sparsity)
        found = torch.cat([mask.kept(name) for name in tensors])
        assert torch.equal(found, expected), (case, kind, sparsity, tensors)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masters_break_ties_and_the_model_keeps_exactly_k(dtype: torch.dtype) -> None:
    chance = np.random.default_rng(2)
    for case in range(500):
        master = draw(chance, KINDS[case % len(KINDS)], int(chance.integers(1, 40)), torch.float32)
        master = master.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
        weight = master.to(dtype)
        pruner = PruningSession({"layers.0.fc1.weight": PrunedParameter(weight, master)}, read_config(sparsity=0.5), 10)
        k = zero_count(0.5, len(weight))
        # rounding makes zeros of values too small for the width: these count, as natural zeros do
        natural = int((weight == 0).sum())
        pruner.before_forward(0)
        assert int((weight == 0).sum()) == max(k, natural), (case, master)
        assert not master[weight == 0].any()


def test_a_tensor_that_the_model_shares_counts_once() -> None:
    first, second = (nn.ModuleDict({"fc1": nn.Linear(4, 4)}) for _ in range(2))
    second["fc1"].weight = first["fc1"].weight
    pruner = PruningSession.of_model(nn.ModuleDict({"layers": nn.ModuleList([first, second])}), read_config(), 10)
    report = pruner.before_forward(0)
    assert report is not None
    assert (report.size, report.zeros) == (24, 12)


@pytest.mark.slow
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("layers", "width", "total"), [(12, 768, 85_017_600), (24, 1024, 302_211_072)])
def test_at_full_size_against_numpys_partition(layers: int, width: int, total: int) -> None:
    torch.manual_seed(3)
    shapes = {}
    for layer in range(layers):
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes[f"layers.{layer}.{name}.weight"], shapes[f"layers.{layer}.{name}.bias"] = (width, width), (width,)
        shapes[f"layers.{layer}.fc1.weight"], shapes[f"layers.{layer}.fc1.bias"] = (4 * width, width), (4 * width,)
        shapes[f"layers.{layer}.fc2.weight"], shapes[f"layers.{layer}.fc2.bias"] = (width, 4 * width), (width,)
    weights = {name: 0.02 * torch.randn(shape) for name, shape in shapes.items()}
    flat = np.concatenate([weight.view(-1).numpy() for weight in weights.values()])
    np.abs(flat, out=flat)
    k = zero_count(0.7, total)
    assert len(flat) == total
    cut = np.partition(flat, k)[k]
    below = int((flat < cut).sum())
    mask = magnitude_mask(weights, 0.7)
    assert mask.zeros() == k
    ties = 0
    for name, weight in weights.items():
        magnitudes, dropped = weight.abs(), ~mask.kept(name)
        assert bool(dropped[magnitudes < float(cut)].all())
        assert not bool(dropped[magnitudes > float(cut)].any())
        ties += int(dropped[magnitudes == float(cut)].sum())
    assert below + ties == k
