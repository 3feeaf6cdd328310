"""The table of architectures against fairseq's own classes: every linear map of every layer, and nothing else."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import nn

from fairseq_parp.architectures import ARCHITECTURES, kind_of, layer_of
from fairseq_parp.sparsity.scope import find_parameters

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


@pytest.mark.parametrize("name", MODELS)
def test_the_row_finds_exactly_the_linear_maps_of_the_layers(name: str) -> None:
    model, family = MODELS[name](), ARCHITECTURES[name]
    linear = [
        f"{path}.{part}"
        for path, module in model.named_modules()
        for part, _ in module.named_parameters(recurse=False)
        if isinstance(module, nn.Linear) and layer_of(f"{path}.x") != path and "decoder" not in path
    ]
    found = [parameter for parameter, _ in model.named_parameters() if family.map_of(parameter)]
    assert found == linear
    assert list(find_parameters(model)) == found
    kinds = [family.map_of(parameter).kind for parameter in found[:: len(family.maps[0].parts)]]  # type: ignore[union-attr]
    assert sorted(kinds) == sorted(2 * [each.kind for each in family.maps])


@pytest.mark.parametrize("name", MODELS)
def test_heads_divide_their_maps(name: str) -> None:
    """Two heads: each owns half of the rows of q, k and v (of each third of qkv), and half of the columns of out."""
    model, family = MODELS[name](), ARCHITECTURES[name]
    shapes = {}
    for parameter, weight in find_parameters(model).items():
        each = family.map_of(parameter)
        if each is not None and parameter.endswith("weight"):
            shapes[each.kind] = tuple(weight.shape)
    width = shapes["out"][1]
    for each in family.maps:
        rows, columns = shapes[each.kind]
        assert (each.heads == "rows") == (each.kind in ("q", "k", "v", "qkv"))
        if each.heads == "rows":
            assert rows == width * (3 if each.kind == "qkv" else 1)
        if each.heads == "columns":
            assert columns % 2 == 0
        assert columns == width or each.kind == "fc2"


@pytest.mark.parametrize("name", ["hubert", "data2vec_audio"])
def test_an_embedding_in_a_finetuned_model_changes_nothing(name: str) -> None:
    model = MODELS[name]()
    within = nn.ModuleDict({"w2v_encoder": nn.ModuleDict({"w2v_model": model, "proj": nn.Linear(16, 5)})})
    expected = [f"w2v_encoder.w2v_model.{parameter}" for parameter in find_parameters(model)]
    assert list(find_parameters(within)) == expected


def test_names_in_words() -> None:
    assert kind_of("modality_encoders.AUDIO.context_encoder.blocks.1.attn.qkv.weight") == "qkv"
    assert layer_of("encoder.sentence_encoder.layers.0.fc1.bias") == "encoder.sentence_encoder.layers.0"
