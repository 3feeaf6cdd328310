"""Masks by magnitude and at random: exact counts, and plain torch as the judge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fairseq_parp.errors import WeightsError
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.magnitude import magnitude_mask, random_mask


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    torch.manual_seed(2)
    shapes = {"layers.0.fc1.weight": (40, 33), "layers.0.fc1.bias": (33,), "layers.1.fc1.weight": (7, 5, 3)}
    # Rounded to tenths, so that most magnitudes occur many times: ties everywhere.
    return {name: ((10 * torch.randn(shape)).round() / 10).to(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.5, 0.9, 1.0])
def test_drops_what_a_stable_sort_of_all_magnitudes_puts_first(sparsity: float, dtype: torch.dtype) -> None:
    scores = weights(dtype)
    flat = torch.cat([tensor.view(-1) for tensor in scores.values()]).abs()
    expected = torch.ones(len(flat), dtype=torch.bool)
    expected[flat.sort(stable=True).indices[: zero_count(sparsity, len(flat))]] = False
    mask = magnitude_mask(scores, sparsity)
    assert torch.equal(torch.cat([mask.kept(name).view(-1) for name in scores]), expected)


@pytest.mark.parametrize("allocation", ["global", "layer", "tensor"])
@pytest.mark.parametrize("make", [magnitude_mask, random_mask])
def test_exactly_k_in_every_group(make: object, allocation: str) -> None:
    scores = weights()
    if make is random_mask:
        mask = random_mask({name: tuple(tensor.shape) for name, tensor in scores.items()}, 0.3, 5, allocation)
    else:
        mask = magnitude_mask(scores, 0.3, allocation)
    groups = {"global": [""], "layer": ["layers.0", "layers.1"], "tensor": list(scores)}[allocation]
    for group in groups:
        members = [name for name in scores if name.startswith(group)]
        size = sum(scores[name].numel() for name in members)
        assert sum(mask.zeros(name) for name in members) == zero_count(0.3, size)


def test_more_natural_zeros_than_asked_for_stay_kept() -> None:
    mask = magnitude_mask({"a": torch.zeros(10), "b": torch.ones(10)}, 0.2)
    assert mask.kept("a").tolist() == [False] * 4 + [True] * 6
    assert mask.zeros() == 4


def test_random_masks_follow_their_seed_and_nothing_else() -> None:
    shapes = {"w": (1000,), "v": (50, 20)}
    first = random_mask(shapes, 0.5, 7)
    torch.manual_seed(99)
    assert random_mask(shapes, 0.5, 7).churn(first) == 0
    assert 900 < random_mask(shapes, 0.5, 8).churn(first) < 1100
    assert abs(first.zeros("w") - 500) < 100


def test_weights_that_are_not_finite_have_no_rank() -> None:
    with pytest.raises(WeightsError, match=r"w: 1 NaN or infinite value\(s\) at update 4"):
        magnitude_mask({"w": torch.tensor([1.0, math.inf])}, 0.5, update=4)
