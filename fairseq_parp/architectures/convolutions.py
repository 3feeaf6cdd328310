"""The convolutions of a feature encoder, which determine the number of frames of an utterance."""

from __future__ import annotations

from torch import nn


def convolutions(model: nn.Module) -> list[tuple[int, int]]:
    """Return (kernel, stride) of the convolutions of the module called ``feature_extractor``, in their order."""
    return [
        (module.kernel_size[0], module.stride[0])
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d) and "feature_extractor" in name.split(".")
    ]


def shortest_input(model: nn.Module) -> int:
    """Return the fewest samples that a model takes, 400 for the usual feature extractor: those of one encoder frame.

    With ``crop_seq_to_multiple`` they are those of that number of frames.
    """
    samples = max((getattr(module, "crop_seq_to_multiple", 1) for module in model.modules()), default=1)
    for kernel, stride in reversed(convolutions(model)):
        samples = (samples - 1) * stride + kernel
    return samples
