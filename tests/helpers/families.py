"""A tiny model of each architecture in the table, built by fairseq's own classes."""

from __future__ import annotations

import importlib
from typing import Any

from omegaconf import OmegaConf
from torch import nn

TINY = {
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)]", "encoder_layers": 2, "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2, "final_dim": 8, "latent_vars": 8, "conv_pos": 4,
    "conv_pos_groups": 2,
}  # fmt: skip


def build(module: str, model: str, config: str, **more: Any) -> nn.Module:
    """Build one of fairseq's models from its own config class."""
    found = importlib.import_module(module)
    cfg = OmegaConf.merge(OmegaConf.structured(getattr(found, config)), {**TINY, **more})
    return getattr(found, model)(cfg)  # type: ignore[no-any-return]


def wav2vec2() -> nn.Module:
    return build("fairseq.models.wav2vec.wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config", quantize_targets=True)


def hubert() -> nn.Module:
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig

    keys = {key: value for key, value in TINY.items() if key != "latent_vars"}
    cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig), {**keys, "label_rate": 50.0})
    return HubertModel(cfg, OmegaConf.structured(HubertPretrainingConfig(label_rate=50.0)), [None])  # type: ignore[no-any-return]


def data2vec_audio() -> nn.Module:
    keys = {"layer_type": "transformer", "max_update": 10, "average_top_k_layers": 2}
    return build("fairseq.examples.data2vec.models.data2vec_audio", "Data2VecAudioModel", "Data2VecAudioConfig", **keys)


def roberta() -> nn.Module:
    from fairseq.modules import TransformerSentenceEncoder

    return TransformerSentenceEncoder(
        padding_idx=1,
        vocab_size=12,
        num_encoder_layers=2,
        embedding_dim=16,
        ffn_embedding_dim=32,
        num_attention_heads=2,
    )  # type: ignore[no-any-return]


def data2vec2() -> nn.Module:
    """The names of fairseq's ``AltBlock``: the class itself needs timm, and that torchvision."""

    def block() -> nn.Module:
        attention = nn.ModuleDict({"qkv": nn.Linear(16, 48), "proj": nn.Linear(16, 16)})
        mlp = nn.ModuleDict({"fc1": nn.Linear(16, 32), "fc2": nn.Linear(32, 16)})
        return nn.ModuleDict({"norm1": nn.LayerNorm(16), "attn": attention, "norm2": nn.LayerNorm(16), "mlp": mlp})

    decoder = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(4, 4)])})
    return nn.ModuleDict({"blocks": nn.ModuleList([block(), block()]), "decoder": decoder})


MODELS = {"wav2vec2": wav2vec2, "hubert": hubert, "data2vec_audio": data2vec_audio, "data2vec2": data2vec2,
          "roberta": roberta}  # fmt: skip
