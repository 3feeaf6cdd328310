"""``parp_hubert_ctc``: stock ``hubert_ctc`` over a pretrained HuBERT."""

from dataclasses import dataclass
from typing import Any

import torch
from fairseq.models import register_model
from fairseq.models.hubert.hubert_asr import HubertCtc, HubertCtcConfig
from torch import nn

from fairseq_parp.compat.encoders import forget_labels, label_width
from fairseq_parp.models._ctc import PrunableCtc


@dataclass
class ParpHubertCtcConfig(HubertCtcConfig):
    """The stock model's keys, unchanged: a recipe becomes this model by its ``_name`` alone."""


@register_model("parp_hubert_ctc", dataclass=ParpHubertCtcConfig)
class ParpHubertCtc(PrunableCtc, HubertCtc):
    """HuBERT with a CTC head."""

    name = "parp_hubert_ctc"

    @classmethod
    def _build(cls, cfg: ParpHubertCtcConfig, task: Any) -> Any:
        """Build without the parts for pretraining alone, so that a checkpoint needs none of the pretraining's files."""
        model = super()._build(cfg, task)
        forget_labels(cfg.w2v_args)
        empty = torch.empty(0, label_width(cfg.w2v_args))
        model.w2v_encoder.w2v_model.label_embs_concat = nn.Parameter(empty, requires_grad=False)
        return model
