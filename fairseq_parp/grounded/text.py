"""The text branch: from the words of a caption to one embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairseq_parp.grounded.audio import mlp, transformer
from fairseq_parp.grounded.padding import within
from fairseq_parp.grounded.words import PADDING


class TextBranch(nn.Module):
    """A Transformer over a class vector and the words.

    Args:
        words: number of indices.
        width: width of the embedding.
        heads, layers: number of attention heads and of layers of the Transformer.
        dropout: dropout rate of the Transformer and of its input.
        longest: words after which a caption is cut.
    """

    def __init__(self, words: int, width: int, heads: int, layers: int, dropout: float, longest: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=PADDING)
        self.norm = nn.LayerNorm(width)
        self.places = nn.Parameter(torch.randn(longest, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = transformer(width, heads, layers, dropout)
        self.project = mlp(width)

    def forward(self, words: Tensor, padding: Tensor | None) -> Tensor:
        """Return embeddings (B, width) of captions; see :meth:`fine`."""
        return self.pool(*self.fine(words, padding))

    def fine(self, words: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the words (B, T, width) before attention mixes them, and the number of words of each caption.

        Args:
            words: (B, T) indices.
            padding: (B, T) true beyond a caption; None without padding.
        """
        lengths = words.new_full((len(words),), words.shape[1]) if padding is None else (~padding).sum(1)
        return self.norm(self.words(words)), lengths

    def pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return embeddings (B, width) from the result of :meth:`fine`."""
        x = x + self.places[: x.shape[1]].to(x.dtype)
        x = torch.cat([self.cls.expand(len(x), 1, -1).to(x.dtype), self.dropout(x)], 1)
        beyond = ~within(lengths + 1, x.shape[1])
        for block in self.blocks:
            x = block(x, src_key_padding_mask=beyond)
        embeddings: Tensor = self.project(x[:, 0])
        return embeddings
