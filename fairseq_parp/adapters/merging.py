"""Adds LoRA's products to the weights: a model without adapters and with the same outputs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fairseq_parp.architectures import is_adapter
from fairseq_parp.errors import CheckpointError, absolute


def merged(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's tensors with LoRA merged: each weight is the sum in float64, rounded once.

    Args:
        path: path of the file, for messages.
        tensors: the model's tensors by name.

    Raises:
        CheckpointError: the model has bottleneck adapters; they are nonlinear, so no weight can replace them.
    """
    found = {name: value for name, value in tensors.items() if not is_adapter(name)}
    if bottlenecks := [name for name in tensors if ".adapter." in name]:
        reason = f"has adapters ({bottlenecks[0]}), which are nonlinear and cannot be merged into weights"
        raise CheckpointError(absolute(path), f"{reason}; decode it with this plugin")
    for name in tensors:
        if name.endswith(".lora.down"):
            owner = name.removesuffix(".lora.down")
            up, down, scale = (tensors[f"{owner}.lora.{part}"].double() for part in ("up", "down", "scale"))
            weight = tensors[f"{owner}.weight"]
            found[f"{owner}.weight"] = (weight.double() + scale * (up @ down)).to(weight.dtype)
    return found
