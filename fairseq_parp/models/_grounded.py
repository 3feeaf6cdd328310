"""The common part of grounded models: the image branch, the codebook, and the config keys of both."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Optional

from torch import Tensor, nn
from torch.nn import functional

from fairseq_parp.grounded.allowed import require_allowed
from fairseq_parp.grounded.codes import Coded, Codes
from fairseq_parp.grounded.image import ImageBranch
from fairseq_parp.models._code_fields import CodeFields, code_settings

SIMILARITIES = ("inner", "cosine")
"""Values of ``model.similarity``."""


@dataclass
class GroundedFields(CodeFields):
    """Keys of the parts beside the encoder of the captions."""

    embedding: int = field(default=768, metadata={"help": "width of both embeddings"})
    grounded_heads: int = field(default=12, metadata={"help": "attention heads in audio head and branches"})
    grounded_dropout: float = field(default=0.1, metadata={"help": "dropout in audio head and branches"})
    image_layers: int = field(default=6, metadata={"help": "Transformer layers of the image branch"})
    image_width: int = field(default=0, metadata={"help": "width of a region's features; 0 takes the data's"})
    image_boxes: Optional[bool] = field(default=None, metadata={"help": "regions have boxes; by default as the data"})  # noqa: UP045
    similarity: str = field(default="inner", metadata={"help": "inner product, or cosine over the temperature"})
    temperature: float = field(default=0.07, metadata={"help": "divides cosines"})
    alpha: Any = field(default=None, metadata={"help": "the task fills in criterion.alpha"})


class Grounding:
    """A base class before a fairseq model whose ``grounded`` holds branches; it encodes captions and pictures.

    Attributes:
        modality: modality of the captions, the name of their branch.
        shown: the modality's name in tables.
        grounded: branch of the captions, image branch and codes; None if they are not built.
        ssl: whether the model has a loss of its own.
    """

    modality: str
    shown: str
    cfg: Any
    grounded: Optional[nn.ModuleDict]  # noqa: UP045
    ssl = False

    def embed_captions(self, source: Tensor, padding_mask: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """Return embeddings (B, width) of whole captions (B, T): unmasked audio samples, or words."""
        return self.encode_captions(source, padding_mask)[0]

    def encode_captions(
        self,
        source: Tensor,
        padding_mask: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return embeddings and codes of whole captions (B, T); None without a codebook."""
        raise NotImplementedError

    def embed_images(self, images: Tensor, boxes: Optional[Tensor] = None) -> Tensor:  # noqa: UP045
        """Return embeddings (B, width) of pictures; see :meth:`encode_images`."""
        return self.encode_images(images, boxes)[0]

    def encode_images(
        self,
        images: Tensor,
        boxes: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return embeddings and codes of pictures or clips; None without a codebook.

        Args:
            images: (B, R, C) features of regions or frames.
            boxes: (B, R, 4) their places.
        """
        branch: Any = self.grounded["image"]  # type: ignore[index]
        fine = branch.fine(images)
        found, coded = self.coded("image", branch.pool(fine, boxes), fine, None)
        return functional.normalize(found.float(), dim=1) if self.cfg.similarity == "cosine" else found, coded

    def scored(self, fine: Tensor, lengths: Tensor, embedding: Tensor) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return captions' retrieval vectors, whose inner products with pictures' are scores, and their codes."""
        found, coded = self.coded(self.modality, embedding, fine, lengths)
        cosine = self.cfg.similarity == "cosine"
        return functional.normalize(found.float(), dim=1) / float(self.cfg.temperature) if cosine else found, coded

    def coded(
        self,
        modality: str,
        embedding: Tensor,
        fine: Tensor,
        lengths: Optional[Tensor],  # noqa: UP045
    ) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return retrieval vectors, fused if requested, and the codes of the fine features."""
        if "codes" not in self.grounded:  # type: ignore[operator]
            return embedding, None
        codes: Any = self.grounded["codes"]  # type: ignore[index]
        coded = codes(modality, fine, lengths)
        return codes.fused(modality, embedding, coded), coded


def parts_beside(modality: str, branch: nn.Module, cfg: Any) -> nn.ModuleDict:
    """Return the branch of the captions, the image branch, and the codebook where the config asks for one."""
    width, heads, dropout = cfg.embedding, cfg.grounded_heads, cfg.grounded_dropout
    image = ImageBranch(cfg.image_width, width, heads, cfg.image_layers, dropout, bool(cfg.image_boxes))
    parts = nn.ModuleDict({modality: branch, "image": image})
    if (codes := code_settings(cfg)) is not None:
        parts["codes"] = Codes(width, codes, (modality, "image"))
    return parts


def require_parts(cfg: Any) -> None:
    """Check the keys of :class:`GroundedFields`.

    Raises:
        ConfigError: one has a value that is not allowed.
    """
    divides = cfg.grounded_heads >= 1 and cfg.embedding % cfg.grounded_heads == 0
    rules = {
        "similarity": (cfg.similarity in SIMILARITIES, f"must be one of {', '.join(SIMILARITIES)}"),
        "temperature": (0 < cfg.temperature < inf, "must be a number above 0"),
        "embedding": (cfg.embedding >= 1, "must be 1 or more"),
        "grounded_heads": (divides, f"must be 1 or more, and divide model.embedding={cfg.embedding}"),
        "grounded_dropout": (0 <= cfg.grounded_dropout < 1, "must be at least 0 and below 1"),
        "image_layers": (cfg.image_layers >= 1, "must be 1 or more: without one, all pictures have one embedding"),
        "image_width": (cfg.image_width >= 1, "must be the width of the pictures' features"),
    }
    require_allowed("model", cfg, rules)
