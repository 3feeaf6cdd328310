"""A small model of MMS's shape, with two languages, as save_pretrained and Hugging Face's guide write them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers_models import SHAPES, SMALL, VOCABULARY

VOCABULARIES = {"spa": VOCABULARY, "nld": {**VOCABULARY, "ij": 8, "é": 9}}


def save(place: Path) -> Path:
    """Write model, adapters and vocabularies into a folder; return it."""
    keys = SMALL | SHAPES["xlsr"] | {"adapter_attn_dim": 6}
    torch.manual_seed(3)
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**keys)).eval()
    model.save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    (place / "vocab.json").write_text(json.dumps(VOCABULARIES))
    for language, vocabulary in VOCABULARIES.items():
        model.lm_head = torch.nn.Linear(32, len(vocabulary))
        with torch.no_grad():
            for parameter in model._get_adapters().values():
                parameter.add_(0.3 * torch.randn(parameter.shape))
        weights = {name: value.detach().clone() for name, value in model._get_adapters().items()}
        save_file(weights, place / f"adapter.{language}.safetensors", {"format": "pt"})
    return place
