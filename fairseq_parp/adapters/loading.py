"""Finds the adapters of a file by its tensors, so decoding needs no config of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.adapters.config import PREFIX, AdapterConfig, read_adapters
from fairseq_parp.adapters.insertion import put
from fairseq_parp.adapters.layers import Adapter, LanguageAdapter, Lora
from fairseq_parp.architectures import is_adapter
from fairseq_parp.errors import CheckpointError, ConfigError, ResumeError, absolute


def accept(model: nn.Module, *, insert: bool) -> None:
    """Let a model load files with and without adapters, strictly.

    Args:
        model: the model whose ``load_state_dict`` changes.
        insert: insert the adapters of a file into the model (to decode). Otherwise (to train) a file without adapters
            does not change the model's own adapters.
    """
    model._register_load_state_dict_pre_hook(_insert if insert else _keep, with_module=True)


def require_same(path: str, state: Mapping[str, Any], config: AdapterConfig, task: str, resumes: bool) -> None:
    """Compare a checkpoint's adapters with those of the training that starts from it.

    A new run may train other parts of a model with the same modules, such as all of it under ``base: trained``.

    Raises:
        ResumeError: the resumed run trained other parameters.
        ConfigError: the checkpoint has adapters, and the training adds none or other ones.
    """
    saved = ((state.get("extra_state") or {}).get(task) or {}).get("adapters")
    was = saved["config"] if saved else AdapterConfig().identity()
    if resumes and was != config.identity():
        raise ResumeError(PREFIX, was, config.identity())
    has = any(map(is_adapter, state["model"]))
    if (
        not resumes
        and has
        and not (config.adds and {key: was.get(key) for key in config.modules()} == config.modules())
    ):
        keys = read_adapters(was).modules() if saved else {}
        shown = " ".join(f"{PREFIX}.{key}={_written(value)}" for key, value in keys.items())
        allowed = f"{absolute(path)} has adapters; start from it with {shown or 'the same task.adapters'}"
        raise ConfigError(f"{PREFIX}.kind", config.kind, allowed)


def _written(value: Any) -> str:
    """Return a value as hydra reads it on a command line."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _keep(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    if not any(map(is_adapter, state)):
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        state.update({prefix + name: value.detach() for name, value in own.items() if is_adapter(name)})


def _insert(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    tensors = {name.removeprefix(prefix): value for name, value in state.items()}
    for owner, small in modules_of(tensors).items():
        module = _submodule(model, owner)
        if not (hasattr(module, "adapter") or hasattr(module, "lora")):
            put(module, small)


def modules_of(tensors: Mapping[str, Any]) -> dict[str, nn.Module]:
    """Return new adapters of the kinds and shapes among a model's tensors, by the name of the module for each.

    Args:
        tensors: a model's tensors by name. Only names and shapes are read; values are not copied.
    """
    found: dict[str, nn.Module] = {}
    for owner in dict.fromkeys(owner_of(name) for name in tensors if is_adapter(name)):
        if (down := _of(tensors, f"{owner}.adapter.down.weight")) is not None:
            found[owner] = Adapter(down.shape[1], down.shape[0])
        elif (down := _of(tensors, f"{owner}.adapter.linear_1.weight")) is not None:
            found[owner] = LanguageAdapter(down.shape[1], down.shape[0])
        elif (down := _of(tensors, f"{owner}.lora.down")) is not None:
            up = _of(tensors, f"{owner}.lora.up")
            rows = 0 if up is None else up.shape[0]
            found[owner] = Lora((rows, down.shape[1]), down.shape[0], 1.0)
    return found


def owner_of(name: str) -> str:
    """Return the name of the module that an adapter's tensor belongs to.

    >>> owner_of("encoder.layers.0.fc2.adapter.up.weight"), owner_of("encoder.layers.0.fc1.lora.up")
    ('encoder.layers.0.fc2', 'encoder.layers.0.fc1')
    """
    return name.partition(".adapter.")[0].partition(".lora.")[0]


def _of(state: Mapping[str, Any], name: str) -> Tensor | None:
    value = state.get(name)
    return value if isinstance(value, torch.Tensor) and value.dim() == 2 else None


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise CheckpointError("the checkpoint", f"has an adapter in {name}, which its model does not have") from None
