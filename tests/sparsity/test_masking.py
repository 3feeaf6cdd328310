"""Masks applied to tensors: of any type, mixed, in the model's shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fairseq_parp.errors import ParpError
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.packing import pack

TYPES = [[torch.float32], [torch.float16], [torch.bfloat16], [torch.float64], [torch.float16, torch.float32]]


def draw(dtypes: list[torch.dtype]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return tensors by name, and booleans: what is kept of them."""
    torch.manual_seed(0)
    shapes = {"matrix": (5, 13), "bias": (7,), "empty": (0, 3), "large": (300, 700)}
    tensors = {
        name: torch.randn(shape).to(dtypes[place % len(dtypes)]) for place, (name, shape) in enumerate(shapes.items())
    }
    return tensors, {name: torch.rand(shape) < 0.4 for name, shape in shapes.items()}


@pytest.mark.parametrize("dtypes", TYPES)
def test_what_is_set_aside_comes_back(dtypes: list[torch.dtype]) -> None:
    tensors, kept = draw(dtypes)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    bits = {name: pack(keeps.flatten()) for name, keeps in kept.items()}
    aside = masking.stash(tensors, bits)
    assert masking.zeros(tensors) == {name: int((~keeps).sum()) for name, keeps in kept.items()}
    for name, tensor in tensors.items():
        assert torch.equal(tensor, before[name] * kept[name])
        assert torch.equal(aside[name], before[name][~kept[name]])
        assert aside[name].dtype == tensor.dtype
    masking.restore(tensors, aside)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


@pytest.mark.parametrize("dtypes", TYPES)
def test_drop_takes_masks_of_more_than_it_is_given(dtypes: list[torch.dtype]) -> None:
    tensors, kept = draw(dtypes)
    del tensors["bias"]
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    masking.apply_mask(tensors, {name: pack(keeps.flatten()) for name, keeps in kept.items()})
    assert all(torch.equal(tensor, before[name] * kept[name]) for name, tensor in tensors.items())


def test_nothing_is_aside_where_nothing_was_displaced() -> None:
    tensors = {"zeros": torch.zeros(4), "others": torch.tensor([0.0, 1.0, 2.0, 3.0])}
    aside = masking.stash(tensors, {name: torch.tensor([0b1100], dtype=torch.uint8) for name in tensors})
    assert {name: values.tolist() for name, values in aside.items()} == {"zeros": [], "others": [0.0, 1.0]}
    masking.restore(tensors, {"others": aside["others"]})
    assert tensors["others"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_mask_of_another_length_is_not_applied() -> None:
    weights = torch.ones(9)
    with pytest.raises(ValueError, match="1 bytes of a mask for 9 weights of w"):
        masking.apply_mask({"w": weights}, {"w": torch.zeros(1, dtype=torch.uint8)})
    assert weights.all()


def test_memory_that_is_not_contiguous_is_refused() -> None:
    weights = torch.ones(4, 4).t()
    with pytest.raises(ParpError, match="not contiguous"):
        masking.apply_mask({"w": weights[:, :2]}, {"w": torch.zeros(1, dtype=torch.uint8)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_zeros_of_both_signs_are_zeros(dtype: torch.dtype) -> None:
    tensors = {"w": torch.tensor([1.0, -0.0, 2.0, 0.0], dtype=dtype)}
    assert masking.zeros(tensors) == {"w": 2}
    masking.restore(tensors, {"w": torch.tensor([3.0, 4.0], dtype=dtype)})
    assert tensors["w"].tolist() == [1.0, 3.0, 2.0, 4.0]


def test_values_of_which_there_are_not_as_many_are_not_put_back() -> None:
    tensors = {"more": torch.tensor([0.0, 0.0, 1.0]), "fewer": torch.tensor([0.0, 1.0]), "fits": torch.tensor([0.0])}
    masking.restore(tensors, {"more": torch.ones(1), "fewer": torch.ones(2), "fits": torch.ones(1)})
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "more": [0.0, 0.0, 1.0],
        "fewer": [0.0, 1.0],
        "fits": [1.0],
    }
