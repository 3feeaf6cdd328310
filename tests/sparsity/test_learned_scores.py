"""Learned scores: the golden cases, the starts' definitions, and starts that cannot move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity.learned_scores import STARTS, ranked_as, score_gradient, start_of
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.structures import STRUCTURES

# x, W, b, S, zeros, G, then y, mask, dL/dS, dL/dx, for L = sum(G y) and y = x (W M)^T + b
CASES = [
    (
        ([[1, 2, 3]], [[1, -2, 3], [4, 5, -6]], [0.5, -0.5], [[0.9, -0.1, 0.3], [-0.8, 0.2, -0.7]], 2, [[1, 1]]),
        ([[10.5, -14.5]], [[1, 0, 1], [1, 0, 1]], [[1, 4, 9], [-4, 10, 18]], [[5, 0, -3]]),
    ),
    (
        ([[1, -1], [2, 0]], [[2, -4], [8, 1]], [0, 1], [[-0.5, 0.25], [0.125, -1]], 2, [[1, 0], [0, 2]]),
        ([[2, 0], [4, 1]], [[1, 0], [0, 1]], [[-2, 4], [32, 0]], [[2, 0], [0, 2]]),
    ),
    (
        ([[1, 1, 1, 1, 1]], [[5, -3, 0, 2, -1]], [0], [[0, 0.4, -0.6, 0.5, -0.2]], 3, [[2]]),
        ([[2]], [[0, 0, 1, 1, 0]], [[0, -6, 0, 4, 2]], [[0, 0, 0, 4, 0]]),
    ),
]


@pytest.mark.parametrize(("given", "expected"), CASES)
def test_golden_cases(given, expected):
    x, weight, bias, scores, grad = (torch.tensor(each, dtype=torch.float32) for each in (*given[:4], given[5]))
    y_expected, mask_expected, scores_expected, x_expected = (
        torch.tensor(each, dtype=torch.float32) for each in expected
    )
    found = STRUCTURES["element"]({"w": PrunedParameter(nn.Parameter(weight))}, {"w": scores}, given[4], None, False)
    mask = MaskSet(found.mask().bits, {"w": tuple(weight.shape)})
    masked = weight.clone()
    mask.zero_({"w": masked})
    assert mask.zeros("w") == given[4]
    assert torch.equal(masked, weight * mask_expected)
    masked.requires_grad_()
    x.requires_grad_()
    y = nn.functional.linear(x, masked, bias)
    (grad * y).sum().backward()
    assert torch.equal(y.detach(), y_expected)
    assert torch.equal(x.grad, x_expected)
    assert torch.equal(score_gradient(masked.grad, weight, scores), scores_expected)


def test_weight_rank_golden_case():
    weight = torch.tensor([[0.1, -0.5, 0.3], [-0.2, 0.05, 0.4]])
    draw = torch.tensor([[0.30, -0.10, 0.02], [-0.25, 0.15, -0.40]])
    assert torch.equal(ranked_as(weight, draw), torch.tensor([[-0.10, -0.40, -0.25], [0.15, 0.02, 0.30]]))


@pytest.mark.parametrize("name", sorted(STARTS))
def test_starts_are_finite_fp32_and_move(name):
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    scores = start_of(name)(weight, torch.Generator().manual_seed(1))
    assert scores.dtype == torch.float32
    assert scores.shape == weight.shape
    assert (score_gradient(torch.ones_like(scores), weight.float(), scores) != 0).all()


@pytest.mark.parametrize(("name", "reason"), [("zero", "gradient of a score of 0 is 0"), ("kaiming", "must be one of")])
def test_starts_that_cannot_move_are_refused(name, reason):
    with pytest.raises(ConfigError, match=reason):
        start_of(name)
