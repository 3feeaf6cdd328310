"""wav2vec 2.0's Transformer that also returns one inner layer's output, with an optional class vector in front."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.models.wav2vec.utils import pad_to_multiple
from fairseq.models.wav2vec.wav2vec2 import TransformerEncoder
from torch import Tensor, nn
from torch.nn import functional


class TappedEncoder(TransformerEncoder):
    """fairseq's encoder with the same parameters; ``cls`` is the only one more.

    Attributes:
        tap: number of layers below the tap, one at least.
        cls: (width,) class vector that stands before the frames; None without one.
        front: number of vectors before the frames, 0 or 1.
    """

    def __init__(self, cfg: Any, tap: int, cls: bool) -> None:
        super().__init__(cfg)
        self.tap = tap
        self.cls = nn.Parameter(torch.randn(cfg.encoder_embed_dim) * 0.02) if cls else None
        self.front = int(cls)
        self._tapped: list[tuple[Tensor, Tensor | None]] = []

    def take_tapped(self) -> tuple[Tensor, Tensor | None]:
        """Return, once, the last forward pass's frames (B, T, width) behind the tap, and its class vector there."""
        return self._tapped.pop()

    def extract_features(
        self,
        x: Tensor,
        padding_mask: Tensor | None = None,
        tgt_layer: int | None = None,
        min_layer: int = 0,
        corpus_key: Any = None,  # noqa: ARG002 (fairseq's layers with adapters by corpus)
    ) -> tuple[Tensor, list[Any]]:
        """Compute the layers as fairseq does. Layerdrop never drops the layer below the tap.

        Args:
            x: (B, T, width).
            padding_mask: (B, T) true beyond an utterance; None without padding.
            tgt_layer: index of the last layer that runs; None for all.
            min_layer: index of the first layer whose result is returned.
        """
        frames = x.shape[1]
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0)
        if self.cls is not None:
            x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], 1)
            padding_mask = None if padding_mask is None else functional.pad(padding_mask, (1, 0))
        first = self.front
        x = x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2)
        if not self.layer_norm_first:
            x = self.layer_norm(x)
        x, padding_mask = self._even(x, padding_mask)
        x = functional.dropout(x, self.dropout, self.training).transpose(0, 1)
        results = []
        for index, layer in enumerate(self.layers):
            dropped = self.training and self.layerdrop > 0 and np.random.random() <= self.layerdrop
            if index == self.tap - 1 or not dropped:
                x, (weights, result) = layer(x, self_attn_padding_mask=padding_mask, need_weights=False)
                if index >= min_layer:
                    results.append(
                        tuple(None if y is None else y[first : first + frames] for y in (x, weights, result))
                    )
            if index == self.tap - 1:
                self._tapped = [(x[first : first + frames].transpose(0, 1), x[0] if first else None)]
            if index == tgt_layer:
                break
        return x[first : first + frames].transpose(0, 1), results

    def _even(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Pad the frames to a multiple of ``required_seq_len_multiple``, and mask the padding."""
        padded, added = pad_to_multiple(x, self.required_seq_len_multiple, dim=-2, value=0)
        if added and padding is None:
            padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        if padding is not None:
            padding = functional.pad(padding, (0, padded.shape[1] - padding.shape[1]), value=True)
        return padded, padding
