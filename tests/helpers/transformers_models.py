"""Tiny models of transformers, saved as it saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

SHAPES: dict[str, dict[str, Any]] = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "xlsr": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "projection_is_identity": {"feat_extract_norm": "group", "conv_dim": [16, 16, 32]},
}


SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16, 16, 16], "conv_kernel": [10, 3, 2], "conv_stride": [5, 4, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 8, "pad_token_id": 0,
}  # fmt: skip


VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7}


def models() -> dict[str, Any]:
    """Return config and class prefix by the name of the shape."""
    found = {name: ("Wav2Vec2", SMALL | keys) for name, keys in SHAPES.items()}
    found["hubert"] = ("Hubert", SMALL)
    data2vec = SMALL | {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}
    return found | {"data2vec": ("Data2VecAudio", data2vec)}


def save(folder: Path, shape: str, kind: str) -> Any:
    """Save a random model of transformers; norms and biases are no ones and zeros, which would hide swapped ones."""
    prefix, keys = models()[shape]
    torch.manual_seed(3)
    model = getattr(transformers, prefix + kind)(getattr(transformers, prefix + "Config")(**keys)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        if shape == "projection_is_identity":
            projection = getattr(model, model.base_model_prefix, model).feature_projection.projection
            projection.weight.copy_(torch.eye(32))
            projection.bias.zero_()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    if kind == "ForCTC":
        (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    return model
