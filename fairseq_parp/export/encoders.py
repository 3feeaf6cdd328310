"""The shape of a speech encoder, as fairseq's config and as Hugging Face transformers' config state it.

wav2vec 2.0, HuBERT and data2vec audio are one shape here: convolutions, a projection, a positional convolution and
Transformer layers. :class:`Encoder` is read from either config and written to either, so that each key stands once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fairseq_parp.compat.no_eval import literal
from fairseq_parp.errors import ExportError, listing

FAMILIES = {"wav2vec2": "wav2vec2", "hubert": "hubert", "data2vec_audio": "data2vec-audio"}
"""fairseq's ``_name`` of a pretrained model, and transformers' ``model_type`` of the same family."""

ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "swish": "silu", "tanh": "tanh"}
"""fairseq's names of activation functions, and transformers'."""

SAMPLE_RATE = 16_000
"""In Hz, of all released encoders."""

_SIZES = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_conv_pos_embeddings",
          "num_conv_pos_embedding_groups", "conv_pos_kernel_size")  # fmt: skip
_LISTS = ("conv_dim", "conv_kernel", "conv_stride")
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "conv_bias": (True, False),
    "do_stable_layer_norm": (True, False),
    "feat_extract_norm": ("group", "layer"),
    "add_adapter": (False,),
    "conv_pos_batch_norm": (False,),
    "feat_extract_activation": ("gelu",),
    "feat_proj_layer_norm": (True,),
    "layer_norm_eps": (1e-5,),
}
"""Keys of transformers' config, and the values that fairseq's classes have."""

_MIN_KERNEL = 3
"""Kernel of each positional convolution of data2vec, at least."""


@dataclass(frozen=True)
class Encoder:
    """The shape of one encoder.

    Attributes:
        family: fairseq's name, a key of :data:`FAMILIES`.
        convolutions: (channels, kernel, stride) of each, in frames.
        conv_bias: whether the convolutions have a bias.
        layer_norms: whether each convolution has a layer norm; otherwise the first one has a group norm.
        layers, width, hidden, heads: sizes of the Transformer; ``hidden`` is the width within a feed-forward block.
        activation: activation of the feed-forward blocks, by fairseq's name.
        pre_norm: whether layer norms stand before attention and feed-forward block.
        positions: kernel, groups and number of the positional convolutions.
    """

    family: str
    convolutions: tuple[tuple[int, int, int], ...]
    conv_bias: bool
    layer_norms: bool
    layers: int
    width: int
    hidden: int
    heads: int
    activation: str
    pre_norm: bool
    positions: tuple[int, int, int]

    def __post_init__(self) -> None:
        """Refuse shapes that transformers' class of the family does not have."""
        many, data2vec = self.positions[2] > 1, self.family == "data2vec_audio"
        if many != data2vec:
            raise ExportError(
                f"{self.family} with {self.positions[2]} positional convolution(s) is not in transformers"
            )
        if data2vec and (self.pre_norm or not self.layer_norms):
            raise ExportError(
                "data2vec audio in transformers has layer norms in its convolutions, and post-norm layers"
            )
        for size, name in ((self.heads, "heads"), (self.positions[1], "groups of the positional convolution")):
            if size < 1 or self.width % size:
                raise ExportError(f"a width of {self.width} does not divide into {size} {name}")
        if self.activation not in ACTIVATIONS:
            raise ExportError(f"activation_fn={self.activation!r}: transformers is given {', '.join(ACTIVATIONS)}")

    @property
    def needs_projection(self) -> bool:
        """Whether fairseq has a projection behind the convolutions; transformers always has one."""
        return self.convolutions[-1][0] != self.width

    def to_transformers(self) -> dict[str, Any]:
        """Return the keys of transformers' config that determine the computation."""
        dims, kernels, strides = zip(*self.convolutions, strict=True)
        kernel, groups, number = self.positions
        keys = {
            "conv_dim": list(dims),
            "conv_kernel": list(kernels),
            "conv_stride": list(strides),
            "conv_bias": self.conv_bias,
            "num_feat_extract_layers": len(dims),
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_attention_heads": self.heads,
            "hidden_act": ACTIVATIONS[self.activation],
            "num_conv_pos_embedding_groups": groups,
        }
        if self.family == "data2vec_audio":
            return keys | {"num_conv_pos_embeddings": number, "conv_pos_kernel_size": kernel}
        return keys | {
            "num_conv_pos_embeddings": kernel,
            "feat_extract_norm": "layer" if self.layer_norms else "group",
            "do_stable_layer_norm": self.pre_norm,
        }

    @classmethod
    def from_transformers(cls, config: Mapping[str, Any]) -> Encoder:
        """Read transformers' config, which holds a ``model_type``.

        Raises:
            ExportError: of another family, without a key, or with a value that fairseq's class does not have.
        """
        families = {theirs: ours for ours, theirs in FAMILIES.items()}
        family = families.get(str(config.get("model_type")))
        if family is None:
            known = ", ".join(families)
            raise ExportError(f"model_type={config.get('model_type')!r} is not known; known are {known}")
        data2vec = family == "data2vec_audio"
        _require_values(config)
        try:
            number = config["num_conv_pos_embeddings"] if data2vec else 1
            kernel = config["conv_pos_kernel_size"] if data2vec else config["num_conv_pos_embeddings"]
            activations = {theirs: ours for ours, theirs in ACTIVATIONS.items()}
            return cls(
                family,
                tuple(zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)),
                bool(config["conv_bias"]),
                data2vec or config["feat_extract_norm"] == "layer",
                config["num_hidden_layers"],
                config["hidden_size"],
                config["intermediate_size"],
                config["num_attention_heads"],
                activations.get(config["hidden_act"], config["hidden_act"]),
                not data2vec and bool(config["do_stable_layer_norm"]),
                (kernel, config["num_conv_pos_embedding_groups"], number),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"the config cannot be read: {type(error).__name__}: {error}") from None

    def to_fairseq(self) -> dict[str, Any]:
        """Return the keys of fairseq's model config that determine the computation."""
        kernel, groups, number = self.positions
        keys = {
            "conv_feature_layers": repr(list(self.convolutions)),
            "conv_bias": self.conv_bias,
            "extractor_mode": "layer_norm" if self.layer_norms else "default",
            "encoder_layers": self.layers,
            "encoder_embed_dim": self.width,
            "encoder_ffn_embed_dim": self.hidden,
            "encoder_attention_heads": self.heads,
            "activation_fn": self.activation,
            "layer_norm_first": self.pre_norm,
            "conv_pos": kernel * number if self.family == "data2vec_audio" else kernel,
            "conv_pos_groups": groups,
        }
        if self.family == "hubert":  # of its pretraining's targets; by default it is the task's
            keys["label_rate"] = SAMPLE_RATE / math.prod(stride for _, _, stride in self.convolutions)
        return keys | ({"pos_conv_depth": number} if number > 1 else {})

    @classmethod
    def from_fairseq(cls, model: Mapping[str, Any]) -> Encoder:
        """Read fairseq's config of a pretrained model.

        Raises:
            ExportError: of another family, without a key, or with parts that transformers' classes do not have.
        """
        family = str(model.get("_name"))
        if family not in FAMILIES:
            raise ExportError(f"a pretrained {family} is not known to transformers here; known are {listing(FAMILIES)}")
        extra = {
            "layer_type": "transformer",
            "quantize_input": False,
            "crop_seq_to_multiple": 1,
            "conv_pos_batch_norm": False,
        }
        for key, usual in extra.items():
            if model.get(key, usual) not in (usual, None):
                raise ExportError(f"{key}={model.get(key)!r}: transformers' class has only {usual!r}")
        number = int(model.get("pos_conv_depth") or 1)
        kernel = int(model.get("conv_pos") or 128)
        try:
            return cls(
                family,
                tuple((int(a), int(b), int(c)) for a, b, c in literal(model["conv_feature_layers"])),
                bool(model.get("conv_bias", False)),
                str(model.get("extractor_mode", "default")) == "layer_norm",
                int(model["encoder_layers"]),
                int(model["encoder_embed_dim"]),
                int(model["encoder_ffn_embed_dim"]),
                int(model["encoder_attention_heads"]),
                str(model.get("activation_fn", "gelu")),
                bool(model.get("layer_norm_first", False)),
                (
                    max(_MIN_KERNEL, kernel // number) if number > 1 else kernel,
                    int(model.get("conv_pos_groups") or 16),
                    number,
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(f"the config of the encoder cannot be read: {type(error).__name__}: {error}") from None


def _require_values(config: Mapping[str, Any]) -> None:
    """Check the values of those keys of transformers' config that are there.

    Raises:
        ExportError: one is no size, or no value that fairseq's classes have.
    """
    for key in _SIZES:
        if key in config and not _is_size(config[key]):
            raise ExportError(f"{key}={config[key]!r}: must be a whole number above 0")
    for key in _LISTS:
        if not isinstance(config.get(key), list) or not config[key] or not all(map(_is_size, config[key])):
            raise ExportError(f"{key}={config.get(key)!r}: must be a list of whole numbers above 0")
    if len({len(config[key]) for key in _LISTS}) > 1:
        raise ExportError(f"{', '.join(_LISTS)} have different lengths")
    for key, allowed in _CHOICES.items():
        value = config.get(key, allowed[0])
        if type(value) is not type(allowed[0]) or value not in allowed:
            raise ExportError(f"{key}={value!r}: fairseq's class has only {' or '.join(map(repr, allowed))}")


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0
