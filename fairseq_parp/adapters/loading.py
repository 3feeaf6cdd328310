"""Loading: the tensors of a file say which adapters it has, so decoding needs no config of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fairseq_parp.adapters.config import PREFIX, AdapterConfig
from fairseq_parp.adapters.insertion import put_adapter, put_lora
from fairseq_parp.adapters.layers import Adapter, Lora
from fairseq_parp.architectures import is_adapter
from fairseq_parp.errors import CheckpointError, ConfigError, ResumeError, absolute


def accept(model: nn.Module, *, insert: bool) -> None:
    """Let a model load files with and without adapters, strictly.

    Args:
        model: whose ``load_state_dict`` is to do so.
        insert: put the adapters of a file into the model (to decode); otherwise (to train) a file without adapters
            leaves the model's own as they are.
    """
    model._register_load_state_dict_pre_hook(_insert if insert else _keep, with_module=True)


def require_same(path: str, state: Mapping[str, Any], config: AdapterConfig, task: str, resumes: bool) -> None:
    """Compare a checkpoint's adapters with those of the training that starts from it.

    Raises:
        ResumeError: a resumed run trained something else.
        ConfigError: the checkpoint has adapters, and the training adds none or others.
    """
    saved = ((state.get("extra_state") or {}).get(task) or {}).get("adapters")
    was = saved["config"] if saved else AdapterConfig().identity()
    if resumes and was != config.identity():
        raise ResumeError(PREFIX, was, config.identity())
    if not resumes and any(map(is_adapter, state["model"])) and not (config.adds and was == config.identity()):
        shown = " ".join(f"{PREFIX}.{key}={value}" for key, value in was.items()) if saved else "the same task.adapters"
        raise ConfigError(f"{PREFIX}.kind", config.kind, f"{absolute(path)} has adapters; start from it with {shown}")


def _keep(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    if not any(map(is_adapter, state)):
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        state.update({prefix + name: value.detach() for name, value in own.items() if is_adapter(name)})


def _insert(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    names = [name.removeprefix(prefix) for name in state if is_adapter(name)]
    owners = {f"{name}.".partition(".adapter.")[0].partition(".lora.")[0] for name in names}
    for owner in owners:
        module = _submodule(model, owner)
        if hasattr(module, "adapter") or hasattr(module, "lora"):
            continue
        if (width := _of(state, f"{prefix}{owner}.adapter.down.weight")) is not None:
            put_adapter(module, Adapter(width.shape[1], width.shape[0]))
        elif (down := _of(state, f"{prefix}{owner}.lora.down")) is not None:
            rows = state[f"{prefix}{owner}.weight"].shape[0]
            put_lora(module, Lora((rows, down.shape[1]), down.shape[0], 1.0))


def _of(state: Mapping[str, Any], name: str) -> Tensor | None:
    value = state.get(name)
    return value if isinstance(value, torch.Tensor) and value.dim() == 2 else None


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise CheckpointError("the checkpoint", f"has an adapter in {name}, which its model does not have") from None
