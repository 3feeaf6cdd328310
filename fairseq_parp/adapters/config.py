"""The keys of ``task.adapters``: ``kind`` selects the parameters that train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fairseq_parp.errors import ConfigError, unknown_key
from fairseq_parp.registry import Registry

PREFIX = "task.adapters"

Layers = str | int | tuple[int, ...]

PARTS = ("head", "mask_emb", "norms", "biases")
"""Groups for ``only``: all outside of the encoder, the mask embedding, and LayerNorms or biases of all layers."""

LORA_MAPS = ("q", "k", "v", "out", "fc1", "fc2")
"""The maps of a layer that LoRA may adapt, by the names of :class:`~fairseq_parp.architectures.LinearMap`."""

MAX_WIDTH = 65_536
"""Of a bottleneck: eight times the widest feed-forward map of wav2vec 2.0; the memory of a larger one is not there."""


@dataclass(frozen=True)
class AdapterConfig:
    """``full``: the same parameters as in fairseq train. The other kinds have their own classes and keys.

    Raises:
        ConfigError: a value is not allowed; the message names the key, the value and the allowed values.
    """

    kind: str = "full"

    def _require(self, key: str, good: bool, allowed: str) -> None:
        if not good:
            raise ConfigError(f"{PREFIX}.{key}", getattr(self, key), allowed)

    @classmethod
    def names(cls) -> list[str]:
        """Return the keys of this kind."""
        return [field.name for field in fields(cls)]

    @property
    def adds(self) -> bool:
        """Whether the kind inserts modules into the model."""
        return False

    def identity(self) -> dict[str, Any]:
        """Return the values that a resumed run must share with the run that it continues."""
        return asdict(self)

    def modules(self) -> dict[str, Any]:
        """Return the keys that decide which modules are put into the model; none where the kind adds none."""
        return {}


@dataclass(frozen=True)
class HeadOnly(AdapterConfig):
    """Only the parameters outside of the encoder train, such as the CTC head."""


@dataclass(frozen=True)
class Only(AdapterConfig):
    """Exactly the parts that ``train`` lists, and the scores of a method that learns them."""

    train: tuple[str, ...] = ("head",)
    """Any of :data:`PARTS`; none, where only scores train."""

    def __post_init__(self) -> None:
        self._require("train", _is_subset(self.train, PARTS), f"must be among {', '.join(PARTS)}")


@dataclass(frozen=True)
class BitFit(AdapterConfig):
    """The biases of all layers and the head train."""


@dataclass(frozen=True)
class TopN(AdapterConfig):
    """All parameters of some layers, and the head, train."""

    layers: Layers = "all"
    """``all``, the number of top layers, or a list of layers counted from 0."""

    def __post_init__(self) -> None:
        self._require("layers", _is_layers(self.layers), "must be all, a number of top layers, or a list of layers")


@dataclass(frozen=True)
class Bottleneck(TopN):
    """Two adapters a layer (Thomas et al., 2022); the adapters, the LayerNorms of all layers and the head train."""

    width: int = 256
    """Of the bottleneck."""

    base: str = "frozen"
    """``frozen``, or ``trained``: then everything else trains, too, as in PARP of an adapted model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        good = _is_count(self.width) and self.width <= MAX_WIDTH
        self._require("width", good, f"must be a whole number from 1 to {MAX_WIDTH:,}")
        self._require("base", self.base in ("frozen", "trained"), "must be frozen or trained")

    @property
    def adds(self) -> bool:
        """Whether the kind inserts modules into the model."""
        return True

    def modules(self) -> dict[str, Any]:
        """Return all keys but ``base``: what else trains changes no module."""
        return {"kind": self.kind, "layers": self.layers, "width": self.width}


@dataclass(frozen=True)
class Lora(TopN):
    """A product of two small matrices is added to weights (Hu et al., 2021); the matrices and the head train."""

    maps: tuple[str, ...] = ("q", "v")
    """Which linear maps of a layer."""

    rank: int = 8
    alpha: float = 16.0
    """The product is multiplied by alpha / rank."""

    dropout: float = 0.0
    """Of the inputs of the product; one mask for all frames of a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = bool(self.maps) and _is_subset(self.maps, LORA_MAPS)
        self._require("maps", known, f"must be among {', '.join(LORA_MAPS)}")
        self._require("rank", _is_count(self.rank), "must be a whole number >= 1")
        self._require("alpha", _is_number(self.alpha) and self.alpha > 0, "must be a number above 0")
        self._require("dropout", _is_number(self.dropout) and 0 <= self.dropout < 1, "must be a number in [0, 1)")

    @property
    def adds(self) -> bool:
        """Whether the kind inserts modules into the model."""
        return True

    def modules(self) -> dict[str, Any]:
        """Return all keys but ``dropout``, which changes no module."""
        return {key: value for key, value in asdict(self).items() if key != "dropout"}


KINDS: Registry[type[AdapterConfig]] = Registry(f"{PREFIX}.kind")

KINDS.register("full", AdapterConfig)
KINDS.register("bottleneck", Bottleneck)
KINDS.register("lora", Lora)
KINDS.register("bitfit", BitFit)
KINDS.register("head_only", HeadOnly)
KINDS.register("only", Only)
KINDS.register("top_n", TopN)


def read_adapters(raw: Mapping[str, Any] | None) -> AdapterConfig:
    """Return the config for the keys of ``task.adapters``; without keys, all parameters train.

    Raises:
        ConfigError: a key does not exist or belongs to another kind, or a value is not allowed.
    """
    if raw is None:
        return AdapterConfig()
    if not isinstance(raw, Mapping):
        raise ConfigError(PREFIX, raw, f"must be a mapping with kind, one of {', '.join(KINDS)}")
    kind = raw.get("kind", "full")
    cls = KINDS[kind]
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    for key, value in values.items():
        owners = [name for name in KINDS if key in KINDS[name].names()]
        if not owners:
            raise unknown_key(f"{PREFIX}.{key}", value, str(key), cls.names())
        if kind not in owners and value is not None:
            raise ConfigError(f"{PREFIX}.{key}", value, f"is for {', '.join(owners)}, not {kind}; leave it null")
    return cls(**{key: value for key, value in values.items() if key in cls.names()})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_subset(value: object, known: tuple[str, ...]) -> bool:
    """Return whether a value is a tuple of different names, all of them known."""
    if not isinstance(value, tuple):
        return False
    return all(each in known for each in value) and all(value.count(each) == 1 for each in value)


def _is_layers(value: object) -> bool:
    if isinstance(value, tuple):
        whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value)
        return bool(value) and whole and len(set(value)) == len(value)
    return value == "all" or _is_count(value)
