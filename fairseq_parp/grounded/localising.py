"""Where in a picture a spoken word is: regions that use the codes of its frames, and the pointing game."""

from __future__ import annotations

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


def points_at(found: Tensor, inside: Tensor) -> bool:
    """Return whether the most relevant region is inside; of equally relevant regions, every one has to be.

    >>> import torch
    >>> points_at(torch.tensor([1.0, 3.0, 3.0]), torch.tensor([False, True, False]))
    False
    """
    return bool(inside[found == found.max()].all())
