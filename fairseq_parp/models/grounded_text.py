"""``grounded_text``: a small Transformer over the words of written captions, compared with pictures' or clips'."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel, register_model
from torch import Tensor

from fairseq_parp.errors import ConfigError, one_line_errors
from fairseq_parp.grounded.allowed import require_allowed
from fairseq_parp.grounded.codes import Coded
from fairseq_parp.grounded.text import TextBranch
from fairseq_parp.grounded.weighting import read_alpha
from fairseq_parp.models._grounded import GroundedFields, Grounding, parts_beside, require_parts


@dataclass
class GroundedTextConfig(GroundedFields, FairseqDataclass):
    """Two branches, and one codebook if requested."""

    text_layers: int = field(default=6, metadata={"help": "Transformer layers of the text branch"})
    text_longest: int = field(default=30, metadata={"help": "words after which a caption is cut"})
    words: int = field(default=0, metadata={"help": "number of known words; 0 takes the data's"})


@register_model("grounded_text", dataclass=GroundedTextConfig)
class GroundedText(Grounding, BaseFairseqModel):
    """Written captions beside pictures or clips; it has no loss of its own, so ``criterion.alpha`` is 1."""

    modality, shown = "text", "text"

    def __init__(self, cfg: GroundedTextConfig) -> None:
        super().__init__()
        self.cfg = cfg
        require_parts(cfg)
        if read_alpha(cfg.alpha).steps != ((0, 1.0),):
            raise ConfigError("criterion.alpha", cfg.alpha, "must be 1: text has no loss of wav2vec 2.0's")
        rules = {
            "text_layers": (cfg.text_layers >= 1, "must be 1 or more: without one, all captions have one embedding"),
            "text_longest": (cfg.text_longest >= 1, "must be 1 word or more"),
        }
        require_allowed("model", cfg, rules)
        width, heads, dropout = cfg.embedding, cfg.grounded_heads, cfg.grounded_dropout
        text = TextBranch(cfg.words, width, heads, cfg.text_layers, dropout, cfg.text_longest)
        self.grounded = parts_beside("text", text, cfg)

    @classmethod
    def build_model(cls, cfg: GroundedTextConfig, task: Any = None) -> "GroundedText":  # noqa: ARG003
        """Build."""
        with one_line_errors():
            return cls(cfg)

    def forward(
        self,
        source: Tensor,
        padding_mask: Optional[Tensor] = None,  # noqa: UP045
        images: Optional[Tensor] = None,  # noqa: UP045
        boxes: Optional[Tensor] = None,  # noqa: UP045
        ssl: bool = False,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Return both embeddings (B, width), and with a codebook both sides' codes.

        Args:
            source: (B, T) indices of words.
            padding_mask: (B, T) true beyond a caption.
            images: (B, R, C) features of each caption's picture or clip.
            boxes: (B, R, 4) places of regions or frames.
            ssl: taken as for speech; there is no such loss.
        """
        result: dict[str, Any] = {"padding_mask": padding_mask}
        result["caption"], result["caption_codes"] = self.encode_captions(source, padding_mask)
        if images is not None:
            result["image"], result["image_codes"] = self.encode_images(images, boxes)
        return result

    def encode_captions(
        self,
        source: Tensor,
        padding_mask: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return embeddings and codes of captions (B, T); None without a codebook."""
        branch: Any = self.grounded["text"]  # type: ignore[index]
        fine, lengths = branch.fine(source, padding_mask)
        return self.scored(fine, lengths, branch.pool(fine, lengths))
