"""Inserts adapters and LoRA into the layers that the table of architectures describes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fairseq_parp.adapters.config import PREFIX, AdapterConfig, Bottleneck, Lora
from fairseq_parp.adapters.layers import Adapter, LoraLinear, apply_adapter
from fairseq_parp.adapters.layers import Lora as LoraModule
from fairseq_parp.architectures import ARCHITECTURES, Family, family_of, layer_of
from fairseq_parp.errors import ConfigError


def adapt(model: nn.Module, config: AdapterConfig, seed: int = 1) -> None:
    """Insert the modules of ``config`` into a model. Its outputs stay the same bit for bit.

    Args:
        model: any model with layers of a known architecture.
        config: from :func:`~fairseq_parp.adapters.config.read_adapters`.
        seed: seed of the modules' initial weights; torch's own random state is not used.

    Raises:
        ConfigError: the model lacks such layers or maps, or the rank is larger than a side of a weight.
    """
    chance = torch.Generator().manual_seed(seed)
    if isinstance(config, Bottleneck):
        _put_adapters(model, config, chance)
    elif isinstance(config, Lora):
        _put_lora(model, config, chance)


def _put_adapters(model: nn.Module, config: Bottleneck, chance: torch.Generator) -> None:
    family, layers = family_and_layers(model)
    for name in chosen(layers, config.layers):
        for sublayer in family.sublayers:
            adapter = Adapter(_width_of(layers[name]), config.width, chance)
            put_adapter(layers[name].get_submodule(sublayer), adapter)


def _put_lora(model: nn.Module, config: Lora, chance: torch.Generator) -> None:
    family, layers = family_and_layers(model)
    paths = {each.kind: each.path for each in family.maps if each.parts}
    if lacking := [kind for kind in config.maps if kind not in paths]:
        allowed = f"a layer of {family.name} has no map {', '.join(lacking)}; it has {', '.join(paths)}"
        raise ConfigError(f"{PREFIX}.maps", list(config.maps), allowed)
    for name in chosen(layers, config.layers):
        for kind in config.maps:
            linear = layers[name].get_submodule(paths[kind])
            shape = next(linear.parameters()).shape
            if config.rank > min(shape):
                allowed = f"is above {min(shape)}, the greatest rank of {name}.{paths[kind]}.weight"
                raise ConfigError(f"{PREFIX}.rank", config.rank, allowed)
            put_lora(linear, LoraModule(shape, config.rank, config.alpha / config.rank, config.dropout, chance))


def put_adapter(sublayer: nn.Module, adapter: nn.Module) -> None:
    """Pass a sublayer's output through an adapter, before dropout and the residual sum."""
    sublayer.adapter = adapter.to(next(sublayer.parameters()))
    sublayer.register_forward_hook(apply_adapter)


def put_lora(linear: nn.Module, lora: LoraModule) -> None:
    """Add LoRA's product to a linear map's weight.

    Raises:
        ConfigError: the module is not ``nn.Linear``, for example one with quantization noise.
    """
    if type(linear) is not nn.Linear:
        raise ConfigError(f"{PREFIX}.kind", "lora", f"adapts torch.nn.Linear alone, not {type(linear).__name__}")
    linear.lora = lora.to(linear.weight)
    linear.__class__ = LoraLinear


def put(module: nn.Module, small: nn.Module) -> None:
    """Insert an adapter or LoRA into a module; errors as :func:`put_lora`."""
    if isinstance(small, LoraModule):
        put_lora(module, small)
    else:
        put_adapter(module, small)


def take_out(module: nn.Module) -> None:
    """Undo :func:`put`; a module without adapter and LoRA does not change."""
    if hasattr(module, "adapter"):
        del module.adapter
        for key in [key for key, hook in module._forward_hooks.items() if hook is apply_adapter]:
            del module._forward_hooks[key]
    if isinstance(module, LoraLinear):
        del module.lora
        module.__class__ = nn.Linear  # type: ignore[assignment]


def family_and_layers(model: nn.Module) -> tuple[Family, dict[str, nn.Module]]:
    """Return the family of a model's encoder, and its layers by name from the lowest to the top.

    Raises:
        ConfigError: the model has no layers of a known architecture.
    """
    names = [name for name, _ in model.named_parameters()]
    family = family_of(names, ARCHITECTURES)
    if family is None:
        allowed = f"the model has no layer of a known architecture: {', '.join(ARCHITECTURES)}"
        raise ConfigError(PREFIX, type(model).__name__, allowed)
    layers = dict.fromkeys(layer_of(name) for name in names if family.map_of(name))
    return family, {name: model.get_submodule(name) for name in layers}


def chosen(layers: Iterable[str], which: Any) -> list[str]:
    """Return the names of the layers that ``layers`` of the config selects.

    Raises:
        ConfigError: the model has fewer layers, or no such layer.
    """
    every = list(layers)
    if which == "all":
        return every
    if isinstance(which, int):
        if which > len(every):
            raise ConfigError(f"{PREFIX}.layers", which, f"the model has {len(every)} layers")
        return every[-which:]
    if max(which) >= len(every):
        allowed = f"the model has {len(every)} layers, 0 to {len(every) - 1}"
        raise ConfigError(f"{PREFIX}.layers", list(which), allowed)
    return [every[index] for index in sorted(which)]


def _width_of(layer: nn.Module) -> int:
    """Return the size of a layer's input and output: that of its first LayerNorm."""
    return next(module for module in layer.modules() if is_norm(module)).weight.numel()  # type: ignore[operator]


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a LayerNorm, apex's and fairseq's included."""
    return type(module).__name__.endswith("LayerNorm")
