"""The names of an encoder's tensors in fairseq and in Hugging Face transformers, side by side."""

from __future__ import annotations

from collections.abc import Iterator

from fairseq_parp.architectures import ARCHITECTURES
from fairseq_parp.export.encoders import Encoder

HEAD = {f"w2v_encoder.proj.{part}": f"lm_head.{part}" for part in ("weight", "bias")}
"""The CTC head's tensors in a finetuned model."""

PROJECTION = "feature_projection.projection"


def encoder_names(encoder: Encoder) -> dict[str, str]:
    """Return transformers' name of each of an encoder's tensors, by fairseq's name; both without a prefix.

    Where fairseq has no projection behind the convolutions, none is named: transformers' is the identity then.
    """
    return {f"{ours}.{part}" if part else ours: f"{theirs}.{theirs_part}" if part else theirs
            for ours, theirs, parts in _modules(encoder) for part, theirs_part in parts}  # fmt: skip


_BOTH = (("weight", "weight"), ("bias", "bias"))


def _modules(encoder: Encoder) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Yield fairseq's and transformers' name of each module, and the names of its tensors in both."""
    yield "mask_emb", "masked_spec_embed", (("", ""),)
    for number in range(len(encoder.convolutions)):
        ours = theirs = f"feature_extractor.conv_layers.{number}"
        yield f"{ours}.0", f"{theirs}.conv", _BOTH if encoder.conv_bias else _BOTH[:1]
        if encoder.layer_norms:
            yield f"{ours}.2.1", f"{theirs}.layer_norm", _BOTH
        elif number == 0:
            yield f"{ours}.2", f"{theirs}.layer_norm", _BOTH
    yield "layer_norm", "feature_projection.layer_norm", _BOTH
    if encoder.needs_projection:
        yield "post_extract_proj", PROJECTION, _BOTH
    yield from _positions(encoder)
    yield "encoder.layer_norm", "encoder.layer_norm", _BOTH
    family = ARCHITECTURES[encoder.family]
    for number in range(encoder.layers):
        ours, theirs = f"encoder.layers.{number}", family.transformers_layer.format(number)
        for each in family.maps:
            yield f"{ours}.{each.path}", f"{theirs}.{each.transformers}", _BOTH
        yield f"{ours}.self_attn_layer_norm", f"{theirs}.layer_norm", _BOTH
        yield f"{ours}.final_layer_norm", f"{theirs}.final_layer_norm", _BOTH


def _positions(encoder: Encoder) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    if encoder.family == "data2vec_audio":
        for number in range(encoder.positions[2]):
            yield f"encoder.pos_conv.{number}.0", f"encoder.pos_conv_embed.layers.{number}.conv", _BOTH
        return
    normed = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))
    yield "encoder.pos_conv.0", "encoder.pos_conv_embed.conv", (("bias", "bias"), *normed)
