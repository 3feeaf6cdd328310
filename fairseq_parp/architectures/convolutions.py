"""The convolutions of a feature encoder, which determine the number of frames of an utterance."""

from __future__ import annotations

import math

from torch import nn


def convolutions(model: nn.Module) -> list[tuple[int, int]]:
    """Return (kernel, stride) in samples of each convolution of the module ``feature_extractor``, in order."""
    return [
        (module.kernel_size[0], module.stride[0])
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d) and "feature_extractor" in name.split(".")
    ]


def shortest_input(model: nn.Module, frames: int = 1) -> int:
    """Return the smallest number of samples that gives a model its frames: usually 400 for one encoder frame.

    Args:
        model: with a feature extractor; its ``crop_seq_to_multiple`` may need more frames.
        frames: encoder frames that are needed.
    """
    samples = max((getattr(module, "crop_seq_to_multiple", 1) for module in model.modules()), default=1)
    samples *= math.ceil(frames / samples)
    for kernel, stride in reversed(convolutions(model)):
        samples = (samples - 1) * stride + kernel
    return samples
