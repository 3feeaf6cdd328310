"""The table of architectures against fairseq's own classes: every linear map of every layer, and nothing else."""

from __future__ import annotations

import pytest
from families import MODELS
from torch import nn

from fairseq_parp.architectures import ARCHITECTURES, kind_of, layer_of
from fairseq_parp.sparsity.scope import find_parameters


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
