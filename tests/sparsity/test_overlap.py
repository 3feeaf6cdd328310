"""Overlaps against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from fairseq_parp.errors import MaskError
from fairseq_parp.sparsity.magnitude import random_mask
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.overlap import Overlap, overlap


def mask(fc1: list[int], fc2: list[int], deep: list[int]) -> MaskSet:
    named = {"layers.0.fc1.weight": fc1, "layers.0.fc2.weight": fc2, "layers.1.fc1.weight": deep}
    return MaskSet.of_nonzero({name: torch.tensor(values, dtype=torch.float32) for name, values in named.items()})


# kept:            fc1 A 2, B 2, both 1, either 3   fc2 A 4, B 2, both 2, either 4   deep A 1, B 0, both 0, either 1
ONE = mask([1, 1, 0, 0], [1, 1, 1, 1], [1, 0])
TWO = mask([0, 1, 1, 0], [0, 0, 1, 1], [0, 0])


def test_golden() -> None:
    found = overlap(ONE, TWO)
    # by chance, |A||B| / N in each tensor: fc1 2 * 2 / 4 = 1 of 3, fc2 4 * 2 / 4 = 2 of 4, deep 1 * 0 / 2 = 0 of 1
    assert found["overall"] == {"": Overlap(3, 8, 3.0, 8.0)}
    assert found["overall"][""].iou == found["overall"][""].chance == 3 / 8
    assert found["layer"] == {"layers.0": Overlap(3, 7, 3.0, 7.0), "layers.1": Overlap(0, 1, 0.0, 1.0)}
    assert found["kind"] == {"fc1": Overlap(1, 4, 1.0, 4.0), "fc2": Overlap(2, 4, 2.0, 4.0)}
    assert found["layer"]["layers.1"].iou == 0.0


def test_a_mask_overlaps_itself_wholly_and_chance_is_what_densities_give() -> None:
    found = overlap(ONE, ONE)["overall"][""]
    # by chance: fc1 1 of 3, fc2 4 of 4, deep .5 of 1.5
    assert (found.iou, found.chance) == (1.0, 5.5 / 8.5)


def test_golden_cosine() -> None:
    found = overlap(ONE, TWO)
    assert found["overall"][""].each == (7, 4)
    assert found["overall"][""].by("cosine") == pytest.approx((3 / 28**0.5, 3 / 28**0.5))
    assert found["kind"]["fc1"].by("cosine") == pytest.approx((1 / 6**0.5, 1 / 6**0.5))  # both 1, by chance 1 + 0
    assert found["kind"]["fc2"].by("cosine") == pytest.approx((2 / 8**0.5, 2 / 8**0.5))
    assert found["layer"]["layers.1"].cosine == 0.0
    assert overlap(ONE, ONE)["overall"][""].by("cosine") == pytest.approx((1.0, 5.5 / 7))


def test_the_cosine_of_independent_masks_is_their_density() -> None:
    shapes = {"layers.0.fc1.weight": (400, 500)}
    found = overlap(random_mask(shapes, 0.1, 1), random_mask(shapes, 0.1, 2))["overall"][""]
    assert found.cosine_by_chance == pytest.approx(0.9)
    assert abs(found.cosine - 0.9) < 0.005


def test_order_does_not_matter() -> None:
    assert overlap(ONE, TWO) == overlap(TWO, ONE)


def test_masks_that_keep_nothing_are_alike() -> None:
    nothing = mask([0] * 4, [0] * 4, [0] * 2)
    assert overlap(nothing, nothing)["overall"][""].by("iou") == (1.0, 1.0)
    assert overlap(nothing, nothing)["overall"][""].by("cosine") == (1.0, 1.0)


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    zip([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [0.818, 0.667, 0.538, 0.429, 0.333, 0.25, 0.176, 0.111, 0.053],
        strict=True),
)  # fmt: skip
def test_chance_is_what_independent_random_masks_have(sparsity: float, expected: float) -> None:
    shapes = {"layers.0.fc1.weight": (400, 500)}
    found = overlap(random_mask(shapes, sparsity, 1), random_mask(shapes, sparsity, 2))["overall"][""]
    assert round(found.chance, 3) == expected
    assert abs(found.iou - expected) < 0.005


def test_chance_knows_that_one_tensor_is_denser_than_another() -> None:
    """Both masks keep all of one tensor and a tenth of the other: far above d / (2 - d) of the whole, by chance."""
    shapes = {"layers.0.fc1.weight": (100, 100), "layers.0.fc2.weight": (100, 100)}

    def halves(seed: int) -> MaskSet:
        sparse = random_mask(shapes, 0.9, seed, "tensor")
        full = MaskSet.of_nonzero({"layers.0.fc1.weight": torch.ones(100, 100)})
        return MaskSet(sparse.bits | full.bits, sparse.shapes)

    found = overlap(halves(1), halves(2))["overall"][""]
    density = 0.55
    assert found.chance > density / (2 - density) + 0.3
    assert abs(found.iou - found.chance) < 0.01


def test_masks_of_different_models() -> None:
    with pytest.raises(MaskError, match="the mask is of another model"):
        overlap(ONE, MaskSet.of_nonzero({"w": torch.ones(3)}))
