"""The masked margin softmax beside direct loops in double precision."""

from __future__ import annotations

import math

import pytest
import torch

from fairseq_parp.grounded.losses import masked_margin_softmax


def by_loops(scores: torch.Tensor, images: list[int], margin: float) -> float:
    """Both directions written out: -log of the own item's share among itself and the items of other pictures."""
    total, size = 0.0, len(images)
    for rows in (scores, scores.t()):
        for i in range(size):
            own = math.exp(float(rows[i, i]) - margin)
            others = sum(math.exp(float(rows[i, j])) for j in range(size) if images[j] != images[i])
            total -= math.log(own / (own + others)) / size
    return total


@pytest.mark.parametrize("images", [[0, 1, 2, 3, 4], [0, 1, 0, 2, 1], [7, 7, 7, 7, 3]])
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_value_and_gradient_are_those_of_direct_loops(images: list[int], margin: float) -> None:
    torch.manual_seed(1)
    scores = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    found = masked_margin_softmax(scores, torch.tensor(images), margin)
    assert float(found.loss) == pytest.approx(by_loops(scores.detach(), images, margin), rel=1e-12)
    found.loss.backward()
    assert scores.grad is not None
    step = 1e-6
    for i, j in [(0, 0), (0, 1), (0, 2), (3, 1), (4, 0)]:
        moved = scores.detach().clone()
        moved[i, j] += step
        slope = (by_loops(moved, images, margin) - by_loops(scores.detach(), images, margin)) / step
        assert float(scores.grad[i, j]) == pytest.approx(slope, abs=1e-5)
    assert found.negatives == pytest.approx(sum(a != b for a in images for b in images) / 5)


def test_items_of_one_picture_alone_leave_no_loss_and_no_gradient() -> None:
    scores = torch.randn(4, 4, requires_grad=True)
    found = masked_margin_softmax(scores, torch.zeros(4, dtype=torch.long))
    found.loss.backward()
    assert (float(found.loss), found.negatives) == (0, 0)
    assert scores.grad is not None
    assert not scores.grad.any()


def test_large_scores_in_half_precision_are_finite() -> None:
    scores = torch.full((3, 3), 6e4, dtype=torch.half)
    assert float(masked_margin_softmax(scores, torch.arange(3)).loss) == pytest.approx(
        by_loops(torch.zeros(3, 3), [0, 1, 2], 1.0), rel=1e-2
    )
