"""The table of known encoders. To add one, add a row; tests/architectures builds fairseq's own classes from them."""

from __future__ import annotations

from dataclasses import replace

from fairseq_parp.architectures.family import Family, LinearMap
from fairseq_parp.registry import Registry

_ENCODER = r"(?!.*decoder)(?:.*\.)?"
"""Any prefix of a layer's name, except a decoder's."""

_TRANSFORMER = (
    LinearMap("k", "self_attn.k_proj", "rows", transformers="attention.k_proj"),
    LinearMap("v", "self_attn.v_proj", "rows", transformers="attention.v_proj"),
    LinearMap("q", "self_attn.q_proj", "rows", transformers="attention.q_proj"),
    LinearMap("out", "self_attn.out_proj", "columns", transformers="attention.out_proj"),
    LinearMap("fc1", "fc1", transformers="feed_forward.intermediate_dense"),
    LinearMap("fc2", "fc2", transformers="feed_forward.output_dense"),
)

_BERT = {
    "k": "attention.self.key",
    "v": "attention.self.value",
    "q": "attention.self.query",
    "out": "attention.output.dense",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}

WAV2VEC2 = Family(
    "wav2vec2",
    _ENCODER + r"layers\.(\d+)",
    _TRANSFORMER,
    models=("wav2vec2",),
    transformers="Wav2Vec2Model",
    ctc_model="parp_wav2vec_ctc",
)

CONFORMER = Family(
    "conformer",
    _ENCODER + r"layers\.(\d+)",
    # its linear maps; not ``linear_pos``, which has no input of the layer's, and not the convolutions
    (
        LinearMap("fc1.1", "ffn1.w_1"),
        LinearMap("fc2.1", "ffn1.w_2"),
        LinearMap("q", "self_attn.linear_q", "rows"),
        LinearMap("k", "self_attn.linear_k", "rows"),
        LinearMap("v", "self_attn.linear_v", "rows"),
        LinearMap("out", "self_attn.linear_out", "columns"),
        LinearMap("fc1.2", "ffn2.w_1"),
        LinearMap("fc2.2", "ffn2.w_2"),
    ),
    models=("wav2vec2",),
    ctc_model="parp_wav2vec_ctc",
    sublayers=("ffn1", "self_attn", "ffn2"),
)

HUBERT = replace(WAV2VEC2, name="hubert", models=("hubert",), transformers="HubertModel", ctc_model="parp_hubert_ctc")

DATA2VEC_AUDIO = replace(
    WAV2VEC2,
    name="data2vec_audio",
    models=("data2vec_audio",),
    transformers="Data2VecAudioModel",
    imports="fairseq.examples.data2vec.models.data2vec_audio",
)

DATA2VEC2 = Family(
    "data2vec2",
    _ENCODER + r"blocks\.(\d+)",
    # q, k and v are the three thirds of the rows of one map
    (
        LinearMap("qkv", "attn.qkv", "rows"),
        LinearMap("out", "attn.proj", "columns"),
        LinearMap("fc1", "mlp.fc1"),
        LinearMap("fc2", "mlp.fc2"),
    ),
    models=("data2vec_multi",),
    sublayers=("attn", "mlp"),
    imports="fairseq.examples.data2vec.models.data2vec2",
)

ROBERTA = Family(
    "roberta",
    _ENCODER + r"layers\.(\d+)",
    tuple(replace(each, transformers=_BERT[each.kind]) for each in _TRANSFORMER),
    models=("roberta",),
    config=(),
    weights_beneath="encoder.sentence_encoder",
    transformers="RobertaModel",
    transformers_layer="encoder.layer.{}",
)

SPEECH_IN_TRANSFORMERS = Family(
    "speech in transformers",  # wav2vec 2.0, HuBERT, WavLM and data2vec audio have the same names there
    r"(?:.*\.)?encoder\.layers\.(\d+)",
    tuple(replace(each, path=each.transformers or "") for each in _TRANSFORMER),
    models=(),
)

BERT_IN_TRANSFORMERS = Family(
    "BERT in transformers",  # RoBERTa too
    r"(?:.*\.)?encoder\.layer\.(\d+)",
    tuple(replace(each, path=_BERT[each.kind]) for each in _TRANSFORMER),
    models=(),
)

XLNET_IN_TRANSFORMERS = Family(
    "XLNet in transformers",
    r"(?:.*\.)?layer\.(\d+)",
    # bare Parameters (width, heads, size of a head); not ``r``, which has no input of the layer's
    (
        *(LinearMap(kind, f"rel_attn.{name}", parts=(), shape="in, heads, head") for kind, name in
          (("q", "q"), ("k", "k"), ("v", "v"), ("out", "o"))),
        LinearMap("fc1", "ff.layer_1"),
        LinearMap("fc2", "ff.layer_2"),
    ),
    models=(),
)  # fmt: skip

ARCHITECTURES: Registry[Family] = Registry("architecture")

for _family in (
    WAV2VEC2, CONFORMER, HUBERT, DATA2VEC_AUDIO, DATA2VEC2, ROBERTA,
    SPEECH_IN_TRANSFORMERS, BERT_IN_TRANSFORMERS, XLNET_IN_TRANSFORMERS,
):  # fmt: skip
    ARCHITECTURES.register(_family.name, _family)


def distinct_families() -> list[Family]:
    """Return one family for each way in which parameters are named, those of installed extensions included."""
    found: dict[tuple[str, ...], Family] = {}
    for family in ARCHITECTURES.values():
        found.setdefault(family.expressions, family)
    return list(found.values())
