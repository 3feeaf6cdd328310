"""The image branch: from the features of a picture's regions or cells to one embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairseq_parp.grounded.audio import mlp, transformer


class ImageBranch(nn.Module):
    """A Transformer over a class vector and the regions.

    Args:
        inside: width of a region's features.
        width: width of the embedding.
        heads, layers: number of attention heads and of layers of the Transformer.
        dropout: dropout rate of the Transformer and of its input.
        boxes: whether regions have boxes.
    """

    def __init__(self, inside: int, width: int, heads: int, layers: int, dropout: float, boxes: bool) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(inside, width), nn.LayerNorm(width))
        self.boxes = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width)) if boxes else None
        self.dropout = nn.Dropout(dropout)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = transformer(width, heads, layers, dropout)
        self.project = mlp(width)

    def forward(self, features: Tensor, boxes: Tensor | None) -> Tensor:
        """Return embeddings (B, width).

        Args:
            features: (B, R, inside).
            boxes: (B, R, 4) left, top, right and bottom as fractions of width and height.
        """
        return self.pool(self.fine(features), boxes)

    def fine(self, features: Tensor) -> Tensor:
        """Return the regions (B, R, width) before their places are added and attention mixes them."""
        found: Tensor = self.features(features)
        return found

    def pool(self, x: Tensor, boxes: Tensor | None) -> Tensor:
        """Return embeddings (B, width) from the result of :meth:`fine`."""
        if self.boxes is not None and boxes is not None:
            x = (x + self.boxes(boxes)) / 2
        x = torch.cat([self.cls.expand(len(x), 1, -1).to(x.dtype), self.dropout(x)], 1)
        for block in self.blocks:
            x = block(x)
        embeddings: Tensor = self.project(x[:, 0])
        return embeddings
