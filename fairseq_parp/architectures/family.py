"""The facts about one family of encoders, and the meaning of a parameter's name in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

Heads = Literal["rows", "columns"] | None


@dataclass(frozen=True)
class LinearMap:
    """One linear map of a layer.

    Attributes:
        kind: the same in every family: ``q``, ``k``, ``v``, ``qkv``, ``out``, ``fc1``, ``fc2``; the two feed-forward
            blocks of a conformer layer end in ``.1`` and ``.2``.
        path: path within the layer of the module, such as ``self_attn.q_proj``, or of a parameter that is the map.
        heads: whether an attention head owns consecutive rows or columns of the weight; None for maps without heads.
        parts: names of the module's parameters; empty if ``path`` is a parameter.
        shape: shape of the weight: ``out, in`` as in ``nn.Linear``, or the family's own order.
        transformers: path of the module within the layer in Hugging Face transformers, or None.
    """

    kind: str
    path: str
    heads: Heads = None
    parts: tuple[str, ...] = ("weight", "bias")
    shape: str = "out, in"
    transformers: str | None = None

    @property
    def expression(self) -> str:
        """A regular expression that matches the map's parameters within a layer."""
        path = re.escape(self.path)
        return rf"{path}\.(?:{'|'.join(self.parts)})" if self.parts else path


@dataclass(frozen=True)
class Family:
    """One family of encoders.

    Attributes:
        name: name of the family.
        layer: regular expression of the name of a layer, with the layer's number as its only group.
        maps: the linear maps of a layer, in the order in which the model has them.
        models: fairseq's names (``_name``) of its pretrained models.
        config: keys from the config of a finetuned model to that of its pretrained encoder, outermost first.
        weights_beneath: the encoder's name within a finetuned model.
        sublayers: paths of the modules within a layer whose output is added to the residual; adapters follow them.
        transformers: class of the encoder in Hugging Face transformers, or None.
        transformers_layer: name of a layer there, with ``{}`` for its number.
        imports: module to import before fairseq knows the model; None for fairseq's own.
        ctc_model: the plugin's model that finetunes it, or None.
    """

    name: str
    layer: str
    maps: tuple[LinearMap, ...]
    models: tuple[str, ...]
    config: tuple[str, ...] = ("w2v_args",)
    weights_beneath: str = "w2v_encoder.w2v_model"
    sublayers: tuple[str, ...] = ("self_attn", "fc2")
    transformers: str | None = None
    transformers_layer: str = "encoder.layers.{}"
    imports: str | None = None
    ctc_model: str | None = None

    @cached_property
    def expressions(self) -> tuple[str, ...]:
        """Regular expressions that match all prunable parameters, one for each linear map."""
        return tuple(rf"{self.layer}\.{each.expression}" for each in self.maps)

    @cached_property
    def _compiled(self) -> tuple[tuple[re.Pattern[str], LinearMap], ...]:
        return tuple((re.compile(text), each) for text, each in zip(self.expressions, self.maps, strict=True))

    def map_of(self, name: str) -> LinearMap | None:
        """Return the linear map that a parameter belongs to, or None."""
        return next((each for pattern, each in self._compiled if pattern.fullmatch(name)), None)


def family_of(names: Iterable[str], families: Mapping[str, Family]) -> Family | None:
    """Return the first family with a parameter among ``names``, or None.

    Families whose layers have the same names count as one here: only the model's config distinguishes them.
    """
    every = list(names)
    return next((family for family in families.values() if any(map(family.map_of, every))), None)


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to a small module that :mod:`fairseq_parp.adapters` inserts into a layer.

    >>> is_adapter("encoder.layers.3.fc2.adapter.up.weight"), is_adapter("encoder.layers.3.fc2.weight")
    (True, False)
    """
    return ".adapter." in name or ".lora." in name


def encoder_config(model: Any) -> Any:
    """Return the config of the pretrained encoder that a finetuned model's config embeds, or None.

    Args:
        model: the model's config, with attributes or keys.
    """
    # omegaconf's get() raises where a structured config lacks the key; getattr has a default
    return getattr(model, "w2v_args", None)
