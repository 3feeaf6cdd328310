"""Audio heads: from the frames of an inner layer of the speech encoder to one embedding an utterance."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairseq_parp.grounded.padding import halved, within, without_padding

HEADS = ("resdavenet", "small")
"""Values of ``model.audio_head``."""


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm over the frames of the utterances alone: the amount of padding changes neither mean nor variance."""

    def forward_real(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Normalise ``x`` (B, C, T); frames beyond ``lengths`` (B,) stay zero."""
        real = within(lengths, x.shape[-1])
        frames = x.transpose(1, 2)
        normed = self(frames[real])
        return torch.zeros_like(frames, dtype=normed.dtype).masked_scatter(real[..., None], normed).transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two convolutions over time with batch norms, added to their input."""

    def __init__(self, inside: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv1d(inside, width, kernel, stride, padding=kernel // 2, bias=False)
        self.second = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.norms = nn.ModuleList([MaskedBatchNorm(width), MaskedBatchNorm(width)])
        changes = stride != 1 or inside != width
        self.shortcut = nn.Conv1d(inside, width, 1, stride, bias=False) if changes else None
        self.shortcut_norm = MaskedBatchNorm(width) if changes else None

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, width, T / stride) and the lengths in it."""
        after = halved(lengths) if self.stride == 2 else lengths
        y = torch.relu(self.norms[0].forward_real(self.first(x), after))  # type: ignore[operator]
        y = self.norms[1].forward_real(self.second(y), after)  # type: ignore[operator]
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm.forward_real(self.shortcut(x), after)
        return torch.relu(x + y), after


class ResDavenet(nn.Module):
    """The convolutions of the paper's head: four stages, each halves the frames. Input (B, T, inside), frames last."""

    WIDTHS, BLOCKS, KERNEL = (128, 256, 512), 2, 9

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        widths = (*self.WIDTHS, width)
        self.project = nn.Linear(inside, widths[0])
        self.norm = MaskedBatchNorm(widths[0])
        stages, last = [], widths[0]
        for each in widths:
            stages += [ResidualBlock(last if not number else each, each, self.KERNEL, 1 if number else 2)
                       for number in range(self.BLOCKS)]  # fmt: skip
            last = each
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T / 16, width) and their lengths."""
        x = torch.relu(self.norm.forward_real(self.project(frames).transpose(1, 2), lengths))
        for stage in self.stages:
            x, lengths = stage(x, lengths)
        return x.transpose(1, 2), lengths


class SmallConvolutions(nn.Module):
    """Two convolutions of stride 2 without batch norm: an utterance's frames depend on it alone."""

    KERNEL = 5

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inside)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, width, self.KERNEL, 2, padding=self.KERNEL // 2) for size in (inside, width)
        )

    def forward(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames (B, T / 4, width) and their lengths."""
        x = without_padding(self.norm(frames).transpose(1, 2), lengths)
        for convolution in self.convolutions:
            lengths = halved(lengths)
            x = without_padding(functional.gelu(convolution(x)), lengths)
        return x.transpose(1, 2), lengths


def mlp(width: int) -> nn.Sequential:
    """Return two linear maps with GELU between, of twice the width inside."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.LayerNorm(2 * width), nn.Linear(2 * width, width))


def transformer(width: int, heads: int, layers: int, dropout: float) -> nn.ModuleList:
    """Return post-norm Transformer layers. Their names differ from an encoder's, so no scope takes them by accident."""
    return nn.ModuleList(
        nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, functional.gelu, batch_first=True)
        for _ in range(layers)
    )


class AudioHead(nn.Module):
    """Convolutions, one Transformer layer over a class vector and their frames, and a linear map of that vector.

    Args:
        kind: a key of :data:`HEADS`.
        inside: width of the speech encoder.
        width: width of the embedding.
        heads: number of attention heads.
        dropout: dropout rate of the Transformer layer.
        cls: whether the encoder has a class vector; without one the head has its own.
    """

    def __init__(self, kind: str, inside: int, width: int, heads: int, dropout: float, cls: bool) -> None:
        super().__init__()
        self.convolve = ResDavenet(inside, width) if kind == "resdavenet" else SmallConvolutions(inside, width)
        self.from_cls = nn.Sequential(nn.Linear(inside, width), mlp(width)) if cls else None
        self.cls = None if cls else nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = transformer(width, heads, 1, dropout)
        self.project = nn.Linear(width, width)

    def forward(self, frames: Tensor, padding: Tensor | None, cls: Tensor | None = None) -> Tensor:
        """Return embeddings (B, width).

        Args:
            frames: (B, T, inside) of the encoder's inner layer.
            padding: (B, T) true beyond an utterance; None without padding.
            cls: (B, inside) the encoder's class vector behind that layer, where it has one.
        """
        return self.pool(*self.fine(frames, padding), cls)

    def fine(self, frames: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the frames (B, T', width) behind the convolutions, before attention mixes them, and their lengths."""
        size = frames.shape[1]
        lengths = frames.new_full((len(frames),), size, dtype=torch.long) if padding is None else (~padding).sum(1)
        found: tuple[Tensor, Tensor] = self.convolve(frames * within(lengths, size)[..., None], lengths)
        return found

    def pool(self, x: Tensor, lengths: Tensor, cls: Tensor | None = None) -> Tensor:
        """Return embeddings (B, width) from the result of :meth:`fine`."""
        first = self.from_cls(cls) if self.from_cls is not None else self.cls.expand(len(x), -1)  # type: ignore[union-attr]
        x = torch.cat([first[:, None].to(x.dtype), x], 1)
        beyond = ~within(lengths + 1, x.shape[1])
        for block in self.blocks:
            x = block(x, src_key_padding_mask=beyond)
        embeddings: Tensor = self.project(x[:, 0])
        return embeddings
