"""Applying masks to tensors: zeroing what they drop, setting it aside, and putting it back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fairseq_parp.sparsity import kernels
from fairseq_parp.sparsity.kernels import Masked
from fairseq_parp.sparsity.packing import ones


def zeros(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the zeros of each tensor."""
    kernel = kernels.choose(tensors.values())
    found = kernel.look([kernel.flat(tensor) for tensor in tensors.values()], 1, 1, 0)
    return dict(zip(tensors, found.below.tolist(), strict=True))


def drop(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> None:
    """Zero ``tensors`` in place wherever the bits of the same name are 0."""
    _drop(tensors, bits, {})


def set_aside(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zero like :func:`drop`, and return what each tensor had there: flat, in order; empty where all were zeros."""
    aside = {name: tensor.new_empty(tensor.numel() - ones(bits[name])) for name, tensor in tensors.items()}
    _drop(tensors, bits, aside)
    # A slice would be saved with all its storage.
    return {name: values if values.count_nonzero() else values.new_empty(0) for name, values in aside.items()}


def put_back(tensors: Mapping[str, Tensor], aside: Mapping[str, Tensor]) -> None:
    """Put values back where zeros are, in order; where a tensor has not as many zeros, it stays as it is.

    Args:
        tensors: those of all names in ``aside``, and maybe others.
        aside: what :func:`set_aside` returned, of the tensors' types and on their devices.
    """
    counts = zeros({name: tensors[name] for name, values in aside.items() if len(values)})
    fitting = [name for name, count in counts.items() if count == len(aside[name])]
    kernel = kernels.choose([tensors[name] for name in fitting])
    kernel.fill([(kernel.flat(tensors[name]), kernel.flat(aside[name])) for name in fitting])


def _drop(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor], aside: Mapping[str, Tensor]) -> None:
    kernel = kernels.choose(tensors.values())
    pieces = []
    for name, tensor in tensors.items():
        if bits[name].numel() != -(-tensor.numel() // 8):
            raise ValueError(f"{bits[name].numel()} bytes of a mask for {tensor.numel()} weights of {name}")
        there = bits[name].to(tensor.device)
        room = kernel.flat(aside[name]) if name in aside else None
        pieces.append(Masked(kernel.flat(tensor), kernel.flat(there), room))
    kernel.drop(pieces)
