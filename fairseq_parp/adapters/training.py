"""Selects the parameters that train, and counts them by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fairseq_parp.adapters.config import PREFIX, AdapterConfig, BitFit, Bottleneck, Only, TopN
from fairseq_parp.adapters.insertion import chosen, family_and_layers, is_norm
from fairseq_parp.architectures import ARCHITECTURES, family_of, is_adapter
from fairseq_parp.errors import ConfigError


@dataclass(frozen=True)
class Trained:
    """Counts of parameters.

    Attributes:
        kinds: trained parameters by kind: ``adapters``, ``norms`` and ``layers`` (the rest of them),
            ``mask_emb``, ``encoder`` (the rest outside of layers), ``head``, ``scores`` of weights.
        size: number of all parameters of the model.
    """

    kinds: dict[str, int]
    size: int

    @property
    def count(self) -> int:
        """Number of all trained parameters."""
        return sum(self.kinds.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.items())
        return f"{self.count:,} of {self.size:,} parameters ({100 * self.count / self.size:.3f} %): {kinds}"


def set_trained(model: nn.Module, config: AdapterConfig, scored: Iterable[str] = ()) -> Trained:
    """Freeze the parameters that do not train, and count the others.

    Args:
        model: the model, with its adapters inserted.
        config: the selection of the trained parameters.
        scored: names of parameters that always train, as scores of their weights.

    Raises:
        ConfigError: no parameter would train, or a score would get no gradient.
    """
    named = dict(model.named_parameters())
    idle = _without_gradients(model, named)
    if lost := next((name for name in scored if name in idle), None):
        raise ConfigError("task.pruning.scope", lost, f"its scores never train: {idle[lost]}")
    kinds = _kinds(model, named) | dict.fromkeys(scored, "scores")
    if type(config) is not AdapterConfig and getattr(config, "base", "frozen") == "frozen":
        wanted = _wanted(model, config, kinds) | set(scored)
        for name, parameter in named.items():
            parameter.requires_grad_(name in wanted)
        _record_through_checkpoints(model)
    counts: Counter[str] = Counter()
    for name, parameter in named.items():
        if parameter.requires_grad and name not in idle:
            counts[kinds[name]] += parameter.numel()
    if not counts:
        raise ConfigError(f"{PREFIX}.kind", config.kind, "nothing trains: no part that it names is in the model")
    return Trained(dict(counts), sum(parameter.numel() for parameter in named.values()))


def _wanted(model: nn.Module, config: AdapterConfig, kinds: Mapping[str, str]) -> set[str]:
    """Return the names of the parameters that train."""
    _, layers = family_and_layers(model)
    if isinstance(config, Only):
        return _parts(kinds, layers, config.train)
    trained = {"head"}
    if config.adds:
        trained.add("adapters")
    if isinstance(config, Bottleneck):
        trained.add("norms")
    found = {name for name, kind in kinds.items() if kind in trained}
    if isinstance(config, BitFit):
        found |= {name for name in _within(kinds, layers) if name.endswith("bias")}
    elif isinstance(config, TopN) and not config.adds:
        found |= _within(kinds, chosen(layers, config.layers))
    return found


def _parts(kinds: Mapping[str, str], layers: Iterable[str], parts: Iterable[str]) -> set[str]:
    """Return the names of the parts that ``only`` lists.

    Raises:
        ConfigError: the model does not have one of them.
    """
    biases = {name for name in _within(kinds, layers) if name.endswith("bias")}
    found = {part: biases if part == "biases" else {n for n, kind in kinds.items() if kind == part} for part in parts}
    lacking = next((part for part, names in found.items() if not names), None)
    if lacking is not None:
        raise ConfigError(f"{PREFIX}.train", list(parts), f"the model has no {lacking}")
    return set().union(*found.values())


def _within(names: Iterable[str], layers: Iterable[str]) -> set[str]:
    starts = tuple(f"{layer}." for layer in layers)
    return {name for name in names if name.startswith(starts)}


def _kinds(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return the kind of each parameter; a model of an unknown architecture has one kind."""
    every = list(names)
    if family_of(every, ARCHITECTURES) is None:
        return dict.fromkeys(every, "model")
    _, layers = family_and_layers(model)
    in_layers, first = _within(every, layers), next(iter(layers))
    # families whose layers have the same names differ in the encoder's; without any, the model is the encoder itself
    encoders = (f"{family.weights_beneath}." for family in ARCHITECTURES.values())
    beneath = next((encoder for encoder in encoders if first.startswith(encoder)), "")

    def kind(name: str) -> str:
        if is_adapter(name):
            return "adapters"
        if name in in_layers:
            return "norms" if is_norm(model.get_submodule(name.rpartition(".")[0])) else "layers"
        if name.rpartition(".")[2] == "mask_emb":
            return "mask_emb"
        return "encoder" if name.startswith(beneath) else "head"

    return {name: kind(name) for name in every}


def _without_gradients(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Return the parameters that fairseq computes without a gradient, whatever they ask for, each with the reason."""
    idle = {
        f"{name}.feature_extractor.".removeprefix("."): "model.feature_grad_mult=0 freezes the convolutions"
        for name, module in model.named_modules()
        if getattr(module, "feature_grad_mult", 1) <= 0
    }
    if getattr(model, "classification_heads", None):
        idle["encoder.lm_head."] = "a classification does not compute the head of the pretraining"
    return {name: reason for name in names for start, reason in idle.items() if name.startswith(start)}


def _record_through_checkpoints(model: nn.Module) -> None:
    """Let activation checkpointing record gradients although nothing below a layer trains.

    fairseq's function records a layer only where the layer's input needs a gradient.
    """
    _, layers = family_and_layers(model)
    for layer in layers.values():
        if hasattr(layer, "precheckpoint_forward") and any(each.requires_grad for each in layer.parameters()):
            layer.register_forward_pre_hook(_require_gradient)


def _require_gradient(_layer: nn.Module, inputs: Any) -> Any:
    x, *others = inputs
    if torch.is_grad_enabled() and not x.requires_grad:
        x = x.detach().requires_grad_()
    return (x, *others)
