"""Tensors that a model holds under several names: each counts once.

A tensor counts under the first of its names. Two names hold the same tensor if memory, shape and strides are the
same, in a model and in a loaded file: ``torch.save`` preserves sharing. A file that holds copies has separate
tensors, because equal values prove nothing: all biases start as zeros. fairseq saves copies if the model is on a GPU
or in half precision. A checkpoint of this project lists its pruned parameters by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor

AnyTensor = TypeVar("AnyTensor", bound=Tensor)


def first_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return for every name the first name of the tensor that it holds, its own for a tensor with one name.

    >>> import torch
    >>> weight = torch.ones(2, 3)
    >>> first_names({"one": weight, "other": weight.view(2, 3), "part": weight[0], "copy": weight.clone()})
    {'one': 'one', 'other': 'one', 'part': 'part', 'copy': 'copy'}
    """
    seen: dict[object, str] = {}
    return {name: seen.setdefault(_memory_of(tensor), name) for name, tensor in tensors.items()}


def distinct(tensors: Mapping[str, AnyTensor]) -> dict[str, AnyTensor]:
    """Return every tensor once, under its first name, in the order of ``tensors``."""
    first = first_names(tensors)
    return {name: tensor for name, tensor in tensors.items() if first[name] == name}


def _memory_of(tensor: Tensor) -> object:
    # Tensors without memory (empty ones, those of the device "meta") all lie at 0.
    start = tensor.data_ptr() or ("no memory", id(tensor))
    return start, tensor.device, tensor.dtype, tensor.shape, tensor.stride()
