"""The convolutions of a feature encoder, which decide how many frames an utterance has."""

from __future__ import annotations

from torch import nn


def convolutions(model: nn.Module) -> list[tuple[int, int]]:
    """Return (kernel, stride) of the convolutions of the module called ``feature_extractor``, in their order."""
    return [
        (module.kernel_size[0], module.stride[0])
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d) and "feature_extractor" in name.split(".")
    ]
