"""From the fine features of each modality to codes of one codebook, and from codes to the retrieval vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fairseq_parp.grounded.code_matching import usage
from fairseq_parp.grounded.codebook import Codebook, InFloat32
from fairseq_parp.grounded.padding import within


@dataclass(frozen=True)
class CodeSettings:
    """Shape and training of a codebook.

    Attributes:
        codes: their number.
        width: width of a code.
        temperature: divides distances before the softmax over the codes.
        decay, warm_up, patience: see :class:`~fairseq_parp.grounded.codebook.Codebook`.
        fused: whether the mean code of an item is added to its retrieval vector.
    """

    codes: int
    width: int
    temperature: float
    decay: float
    warm_up: int
    patience: int
    fused: bool


class Coded(NamedTuple):
    """The fine features of a batch beside the codebook.

    Attributes:
        features: (B, T, D) float32, normalised.
        real: (B, T) false where a feature is padding.
        usage: (B, V) how much each item uses each code.
    """

    features: Tensor
    real: Tensor
    usage: Tensor


class Normalised(nn.BatchNorm1d, InFloat32):
    """Takes a modality's mean off and divides by its deviation: else the codes would part by modality."""

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward_real(self, x: Tensor, real: Tensor) -> Tensor:
        """Normalise ``x`` (B, T, D) where ``real`` (B, T); the rest is zero."""
        return torch.zeros_like(x).masked_scatter(real[..., None], self(x[real]))


class Codes(nn.Module):
    """One codebook, and of each modality a linear map to its width.

    Args:
        inside: width of the fine features and of the retrieval vectors.
        settings: settings of the codebook.
        modalities: names of both.
    """

    def __init__(self, inside: int, settings: CodeSettings, modalities: tuple[str, str]) -> None:
        super().__init__()
        self.temperature = settings.temperature
        self.book = Codebook(settings.codes, settings.width, settings.decay, settings.warm_up, settings.patience)
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(inside), nn.Linear(inside, settings.width)) for name in modalities}
        )
        self.normalise = nn.ModuleDict({name: Normalised(settings.width) for name in modalities})
        fuse = {name: nn.Linear(settings.width, inside, bias=False) for name in modalities}
        self.fuse = nn.ModuleDict(fuse) if settings.fused else None

    def forward(self, modality: str, fine: Tensor, lengths: Tensor | None = None) -> Coded:
        """Compare fine features (B, T, inside) with the codes; training keeps them for the codebook's next update.

        Args:
            modality: one of the two.
            fine: features that no attention has mixed.
            lengths: (B,) of them are real; None for all.
        """
        batch, size = fine.shape[:2]
        every = torch.full((batch,), size, device=fine.device)
        real = within(every if lengths is None else lengths, size)
        with torch.autocast(fine.device.type, enabled=False):
            projected = self.project[modality](fine.to(self.project[modality][1].weight.dtype)).float()  # type: ignore[index]
            features = self.normalise[modality].forward_real(projected, real)  # type: ignore[operator]
            self.book.observe(modality, features[real])
            return Coded(features, real, usage(self.book.distances(features), real, self.temperature))

    def fused(self, modality: str, embedding: Tensor, coded: Coded) -> Tensor:
        """Return retrieval vectors (B, inside), with the mean code of each item added where codes are fused."""
        if self.fuse is None:
            return embedding
        codes = self.book.quantise(coded.features) * coded.real[..., None]
        mean = codes.sum(1) / coded.real.sum(1)[:, None]
        return embedding + self.fuse[modality](mean.to(embedding.dtype))  # type: ignore[no-any-return]
