"""``grounded_wav2vec2``: wav2vec 2.0 whose inner layer also feeds an embedding that is compared with pictures'."""

import logging
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.models import register_model
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError, one_line_errors
from fairseq_parp.grounded.audio import HEADS, AudioHead
from fairseq_parp.grounded.codes import Coded
from fairseq_parp.grounded.weighting import read_alpha
from fairseq_parp.models._grounded import GroundedFields, Grounding, parts_beside, require_parts
from fairseq_parp.models._tapped import TappedEncoder
from fairseq_parp.models._warm_start import load_into

logger = logging.getLogger(__name__)


@dataclass
class GroundedWav2Vec2Config(GroundedFields, Wav2Vec2Config):
    """fairseq's ``wav2vec2``, and the grounded parts; the defaults are the published ones for base."""

    w2v_path: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "pretrained or grounded checkpoint to start from"}
    )
    shared_layers: int = field(default=8, metadata={"help": "layers below the tapped output, which pictures train"})
    cls_token: bool = field(default=True, metadata={"help": "a learned vector stands before the frames"})
    audio_head: str = field(default="resdavenet", metadata={"help": "resdavenet or small"})
    untrained_parts: bool = field(
        default=False, metadata={"help": "build also what alpha does not train: it stays as it is, and is validated"}
    )


@register_model("grounded_wav2vec2", dataclass=GroundedWav2Vec2Config)
class GroundedWav2Vec2(Grounding, Wav2Vec2Model):
    """wav2vec 2.0, an audio head on an inner layer, and an image branch.

    Parts that ``alpha`` never trains are not built; with ``untrained_parts`` they are built and do not train.

    Attributes:
        ssl: whether the parts of wav2vec 2.0's own loss are built. Otherwise no layer above the tap is built.
        grounded: audio head, image branch and codes; None if they are not built.
    """

    modality, shown = "audio", "speech"

    def __init__(self, cfg: GroundedWav2Vec2Config) -> None:
        tapped, self_supervised = _parts(cfg)
        super().__init__(cfg)
        self.ssl = self_supervised
        self.grounded: Optional[nn.ModuleDict] = None  # noqa: UP045
        if tapped:
            self.encoder = TappedEncoder(cfg, cfg.shared_layers, cfg.cls_token)
            width, heads, dropout = cfg.embedding, cfg.grounded_heads, cfg.grounded_dropout
            head = AudioHead(cfg.audio_head, cfg.encoder_embed_dim, width, heads, dropout, cfg.cls_token)
            self.grounded = parts_beside("audio", head, cfg)
        if not self.ssl:
            del self.encoder.layers[cfg.shared_layers :]
            self.quantizer = self.project_q = self.target_glu = self.final_proj = None
        self._freeze_untrained()

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest utterance that the model takes.

        The loss of wav2vec 2.0 needs masked frames. fairseq draws two spans at least, which start at different frames
        and may cover every frame of a shorter utterance; a batch with such an utterance has no spans at all.
        """
        return int(self.cfg.mask_length) + 3 if self.ssl and self.cfg.mask_prob else 1

    def _freeze_untrained(self) -> None:
        """Freeze the parameters that no weighted loss reaches: an optimizer may decay parameters without a gradient."""
        alpha = read_alpha(self.cfg.alpha)
        frozen: list[Any] = []
        if not alpha.trains_speech:
            above = self.encoder.layers[self.cfg.shared_layers :]
            frozen += [self.mask_emb, above, self.quantizer, self.project_q, self.target_glu, self.final_proj]
        if not alpha.trains_pictures:
            frozen.append(self.grounded)
        for part in frozen:
            if part is not None:
                part.requires_grad_(False)

    @classmethod
    def build_model(cls, cfg: GroundedWav2Vec2Config, task: Any = None) -> "GroundedWav2Vec2":
        """Build, and load ``w2v_path`` where one is given."""
        with one_line_errors():
            model = cls(cfg)
            if cfg.w2v_path is not None:
                load_into(model, cfg.w2v_path, getattr(getattr(task, "cfg", None), "image_encoder", None))
            return model

    def forward(
        self,
        source: Tensor,
        padding_mask: Optional[Tensor] = None,  # noqa: UP045
        images: Optional[Tensor] = None,  # noqa: UP045
        boxes: Optional[Tensor] = None,  # noqa: UP045
        ssl: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """Return fairseq's result; with ``images`` also both embeddings.

        Args:
            source: (B, samples).
            padding_mask: (B, samples) true beyond an utterance.
            images: (B, R, C) features of each utterance's picture.
            boxes: (B, R, 4) places of the regions.
            ssl: whether wav2vec 2.0's own loss is computed from the result: input is masked for it. Without it, the
                embeddings are of unmasked input, and no layer above the tap runs.
            options: options of fairseq's model, such as ``features_only``.

        Returns:
            beside fairseq's: ``caption`` and ``image``, (B, width) each; with a codebook, the
            :class:`~fairseq_parp.grounded.codes.Coded` ``caption_codes`` and ``image_codes``.
        """
        if images is None or self.grounded is None:
            return super().forward(source, padding_mask, **options)  # type: ignore[no-any-return]
        if self.ssl and ssl:
            result = super().forward(source, padding_mask, **options)
        else:
            last = self.cfg.shared_layers - 1
            result = super().forward(source, padding_mask, mask=False, features_only=True, layer=last)
        result["caption"], result["caption_codes"] = self._audio(result["padding_mask"])
        result["image"], result["image_codes"] = self.encode_images(images, boxes)
        return result  # type: ignore[no-any-return]

    def encode_captions(
        self,
        source: Tensor,
        padding_mask: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return embeddings and codes of whole, unmasked utterances (B, samples); None without a codebook."""
        found = super().forward(source, padding_mask, mask=False, features_only=True, layer=self.cfg.shared_layers - 1)
        return self._audio(found["padding_mask"])

    def _audio(self, padding: Optional[Tensor]) -> tuple[Tensor, Optional[Coded]]:  # noqa: UP045
        """Return embeddings and codes of the utterances whose inner layer was just computed."""
        frames, cls = self.encoder.take_tapped()
        head: Any = self.grounded["audio"]  # type: ignore[index]
        fine, lengths = head.fine(frames, padding)
        return self.scored(fine, lengths, head.pool(fine, lengths, cls))


def _parts(cfg: GroundedWav2Vec2Config) -> tuple[bool, bool]:
    """Check the model's keys, and return whether the grounded parts are built, and those of wav2vec 2.0's own loss.

    Raises:
        ConfigError: one has a value that is not allowed.
    """
    alpha = read_alpha(cfg.alpha)
    tapped, ssl = (cfg.untrained_parts or trained for trained in (alpha.trains_pictures, alpha.trains_speech))
    if not tapped:
        return tapped, ssl
    if not 1 <= cfg.shared_layers <= cfg.encoder_layers:
        raise ConfigError("model.shared_layers", cfg.shared_layers, f"must be 1 to {cfg.encoder_layers}, the layers")
    if cfg.audio_head not in HEADS:
        raise ConfigError("model.audio_head", cfg.audio_head, f"must be one of {', '.join(HEADS)}")
    if str(cfg.layer_type) != "transformer" and getattr(cfg.layer_type, "value", "transformer") != "transformer":
        raise ConfigError("model.layer_type", str(cfg.layer_type), "must be transformer: no other layers can be tapped")
    require_parts(cfg)
    return tapped, ssl
