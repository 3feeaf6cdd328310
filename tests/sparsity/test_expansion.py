"""Values go to the places that a mask keeps: every implementation that this processor has, and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fairseq_parp import native
from fairseq_parp.sparsity.expansion import PART, by_library, by_numpy, expand
from fairseq_parp.sparsity.kernels.compiled import levels

LIBRARY = native.load(PART)
LEVELS = range(levels(LIBRARY)) if LIBRARY else []
SIZES = [0, 1, 7, 63, 64, 65, 127, 511, 512, 4097, 70_001]


@pytest.mark.skipif(LIBRARY is None, reason="not compiled here")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", SIZES)
def test_the_compiled_pass_is_that_of_numpy(level: int, dtype: torch.dtype, size: int) -> None:
    """The tensor may begin anywhere; what lies beside it stays, and no value too many is read."""
    assert LIBRARY is not None
    chance = np.random.default_rng(size)
    for share in (0, 0.1, 0.5, 1):
        kept = chance.random(size) < share
        bits, many = np.packbits(kept, bitorder="little"), int(kept.sum())
        drawn = torch.tensor(chance.standard_normal(many + 2), dtype=dtype)  # an empty one has no bytes to view
        values = drawn.view(torch.uint8).numpy()[: many * drawn.element_size()]
        for first in (0, 1):
            ours, theirs = (torch.full((size + 2,), 7, dtype=dtype) for _ in range(2))
            used = by_library(LIBRARY, level, ours[first : first + size], bits, values)
            assert used == by_numpy(theirs[first : first + size], bits, values) == many
            assert ours.view(torch.uint8).equal(theirs.view(torch.uint8))
        if many:
            short = values[: -ours.element_size()]
            assert by_library(LIBRARY, level, ours[:size], bits, short) == -1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_values_in_order_and_zeros_elsewhere(dtype: torch.dtype) -> None:
    into = torch.full((2, 5), 7, dtype=dtype)
    values = torch.tensor([1, -0.0, 3, 4], dtype=dtype).view(torch.uint8).numpy()
    assert expand(into, np.array([0b0010_0110, 0b10], np.uint8), values) == 4
    assert into.tolist() == [[0, 1, 0, 0, 0], [3, 0, 0, 0, 4]]
    assert torch.signbit(into).sum() == 1
    with pytest.raises(ValueError, match="keeps more than the 3 values"):
        expand(into, np.array([0b0010_0110, 0b10], np.uint8), values[: 3 * into.element_size()])
