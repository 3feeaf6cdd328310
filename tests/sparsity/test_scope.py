"""The default scope on real layers built directly, and user-given scopes."""

from __future__ import annotations

import pytest
from torch import nn

from fairseq_parp.errors import ScopeError
from fairseq_parp.sparsity.scope import find_names, find_parameters


def linears(**shapes: tuple[int, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(*shape) for name, shape in shapes.items()})


def transformer_layer(width: int = 4, inner: int = 8) -> nn.ModuleDict:
    attention = {f"{letter}_proj": (width, width) for letter in "kvq"} | {"out_proj": (width, width)}
    layer = nn.ModuleDict({"self_attn": linears(**attention), "fc1": nn.Linear(width, inner)})
    layer["fc2"] = nn.Linear(inner, width)
    layer["self_attn_layer_norm"] = nn.LayerNorm(width)
    return layer


def encoder(layers: int = 2, name: str = "encoder") -> nn.ModuleDict:
    body = nn.ModuleDict({"layers": nn.ModuleList([transformer_layer() for _ in range(layers)])})
    body["pos_conv"] = nn.Conv1d(4, 4, 3)
    body["layer_norm"] = nn.LayerNorm(4)
    return nn.ModuleDict({name: body, "post_extract_proj": nn.Linear(4, 4), "proj": nn.Linear(4, 5)})


def test_paper_scope_is_the_linear_maps_weight_and_bias() -> None:
    found = find_parameters(encoder(1))
    kinds = ["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2"]
    assert list(found) == [f"encoder.layers.0.{kind}.{part}" for kind in kinds for part in ("weight", "bias")]


def test_decoder_layers_are_not_in_the_paper_scope() -> None:
    with pytest.raises(ScopeError, match="matches no layer of a known architecture"):
        find_parameters(encoder(1, name="decoder"))


def test_wav2vec2_base_and_large_sizes() -> None:
    """12 x 7,084,800 and 24 x 12,592,128, the numbers of the paper's models."""
    for width, inner, expected in ((768, 3072, 7_084_800), (1024, 4096, 12_592_128)):
        body = nn.ModuleDict({"layers": nn.ModuleList([transformer_layer(width, inner)])})
        assert sum(parameter.numel() for parameter in find_parameters(body).values()) == expected


def test_conformer_layer() -> None:
    from fairseq.modules.conformer_layer import ConformerEncoderLayer

    layer = ConformerEncoderLayer(
        embed_dim=8, ffn_embed_dim=16, attention_heads=2, dropout=0.0, use_fp16=False,
        depthwise_conv_kernel_size=3, attn_type="espnet", pos_enc_type="rel_pos",
    )  # fmt: skip
    found = find_parameters(nn.ModuleDict({"layers": nn.ModuleList([layer])}))
    modules = {name.removeprefix("layers.0.").rpartition(".")[0] for name in found}
    assert modules == {
        "ffn1.w_1", "ffn1.w_2", "ffn2.w_1", "ffn2.w_2",
        "self_attn.linear_q", "self_attn.linear_k", "self_attn.linear_v", "self_attn.linear_out",
    }  # fmt: skip
    assert len(found) == 16


def test_exact_names_and_regular_expressions() -> None:
    model = encoder(2)
    found = find_parameters(model, ["proj.weight", r"encoder\.layers\.1\.fc[12]\.weight"])
    assert list(found) == ["encoder.layers.1.fc1.weight", "encoder.layers.1.fc2.weight", "proj.weight"]
    assert list(find_parameters(model, "proj.bias")) == ["proj.bias"]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (["proj.weight", r".*fc3.*"], r"'\.\*fc3\.\*' matches no parameter"),
        ([r".*fc1\.weight", r"encoder\.layers\.0\..*weight"], r"layers\.0\.fc1\.weight is matched by both"),
        (["proj.weight", r"proj\..*"], r"proj\.weight is matched by both"),
        (["fc["], r"'fc\[' is not a regular expression"),
    ],
)
def test_bad_scopes(scope: list[str], message: str) -> None:
    with pytest.raises(ScopeError, match=message):
        find_parameters(encoder(1), scope)


def test_a_shared_tensor_counts_once() -> None:
    model = encoder(2)
    first, second = model["encoder"]["layers"]  # type: ignore[misc, index]
    second["fc1"].weight = first["fc1"].weight
    found = find_parameters(model)
    assert "encoder.layers.0.fc1.weight" in found
    assert "encoder.layers.1.fc1.weight" not in found


def test_the_feed_forward_part_has_a_name() -> None:
    layer = "encoder.layers.0"
    names = [f"{layer}.{each}.weight" for each in ("self_attn.q_proj", "fc1", "fc2", "final_layer_norm")]
    assert find_names(names, "ffn") == find_names(names, ["ffn"]) == [f"{layer}.fc1.weight", f"{layer}.fc2.weight"]
    assert find_names(names, "ffn") == [name for name in find_names(names, "paper") if ".fc" in name]
    with pytest.raises(ScopeError, match="scope 'ffn' matches no layer of a known architecture"):
        find_names(["proj.weight"], "ffn")
