"""The place of a spoken word in a picture: regions that use the codes of its frames, and the pointing game."""

from __future__ import annotations

import torch
from torch import Tensor


def relevance(segment: Tensor, regions: Tensor) -> Tensor:
    """Return (R,) how much each region uses the codes of a segment: the sum over codes of both probabilities.

    Args:
        segment: (T, V) probabilities of the codes for each frame of the segment.
        regions: (R, V) probabilities of the codes for each region.
    """
    return regions @ segment.mean(0)


def within_box(boxes: Tensor, target: Tensor) -> Tensor:
    """Return (R,) whether the centre of each box lies within the target box (4,); boxes are (R, 4), left to bottom."""
    across, down = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    left, top, right, bottom = target.tolist()
    inside: Tensor = (across >= left) & (across <= right) & (down >= top) & (down <= bottom)
    return inside


def relevance_within(found: Tensor, boxes: Tensor, targets: Tensor) -> float:
    """Return the mean relevance of the area of target boxes; regions beside them count nothing.

    Args:
        found: (R,) relevance of the regions.
        boxes: (R, 4) of the regions.
        targets: (K, 4) boxes of one object.

    >>> halves = torch.tensor([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])
    >>> relevance_within(torch.tensor([1.0, 3.0]), halves, torch.tensor([[0.25, 0, 1, 1]]))
    2.333...
    """
    least = torch.maximum(boxes[:, None, :2], targets[None, :, :2])
    most = torch.minimum(boxes[:, None, 2:], targets[None, :, 2:])
    areas = (most - least).clamp_min(0).prod(2).sum(1)
    return float((areas * found).sum() / areas.sum()) if areas.any() else float("-inf")


def points_at(found: Tensor, inside: Tensor) -> bool:
    """Return whether the most relevant region is inside; of equally relevant regions, every one has to be.

    >>> points_at(torch.tensor([1.0, 3.0, 3.0]), torch.tensor([False, True, False]))
    False
    """
    return bool(inside[found == found.max()].all())
