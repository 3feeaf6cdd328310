"""Applies masks to tensors: zeroes the dropped weights, stashes their values, and restores them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fairseq_parp.sparsity import kernels
from fairseq_parp.sparsity.kernels import MaskChunk, MaskedCopy
from fairseq_parp.sparsity.packing import ones


def zeros(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the zeros of each tensor."""
    kernel = kernels.choose(tensors.values())
    found = kernel.count_and_collect([kernel.flat(tensor) for tensor in tensors.values()], 1, 1, 0)
    return dict(zip(tensors, found.below.tolist(), strict=True))


def apply_mask(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> None:
    """Zero ``tensors`` in place wherever the bits of the same name are 0."""
    _apply_mask(tensors, bits, {})


def copy_masked(into: Mapping[str, Tensor], weights: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> None:
    """Make ``into`` the ``weights`` that the bits of the same name keep, and zero where they are 0.

    Args:
        into: output tensors with the names and shapes of ``weights``; their types may differ.
        weights: are not changed.
        bits: packed masks of the same names.
    """
    kernel = kernels.choose([*into.values(), *weights.values()])
    flat = kernel.flat
    kernel.copy_masked(
        [MaskedCopy(flat(each), flat(weights[name]), flat(bits[name].to(each.device))) for name, each in into.items()]
    )


def stash(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Zero like :func:`drop`, and return the dropped values of each tensor: flat, in order; empty if all were zeros."""
    stashed = {name: tensor.new_empty(tensor.numel() - ones(bits[name])) for name, tensor in tensors.items()}
    _apply_mask(tensors, bits, stashed)
    # A slice would be saved with all its storage.
    return {name: values if values.count_nonzero() else values.new_empty(0) for name, values in stashed.items()}


def restore(tensors: Mapping[str, Tensor], stashed: Mapping[str, Tensor]) -> None:
    """Restore values at the zeros, in order; a tensor with another number of zeros does not change.

    Args:
        tensors: the tensors of all names in ``stashed``, and possibly others.
        stashed: the result of :func:`stash`, with the tensors' types and devices.
    """
    counts = zeros({name: tensors[name] for name, values in stashed.items() if len(values)})
    fitting = [name for name, count in counts.items() if count == len(stashed[name])]
    kernel = kernels.choose([tensors[name] for name in fitting])
    kernel.scatter([(kernel.flat(tensors[name]), kernel.flat(stashed[name])) for name in fitting])


def _apply_mask(tensors: Mapping[str, Tensor], bits: Mapping[str, Tensor], stashed: Mapping[str, Tensor]) -> None:
    kernel = kernels.choose(tensors.values())
    chunks = []
    for name, tensor in tensors.items():
        if bits[name].numel() != -(-tensor.numel() // 8):
            raise ValueError(f"{bits[name].numel()} bytes of a mask for {tensor.numel()} weights of {name}")
        there = bits[name].to(tensor.device)
        room = kernel.flat(stashed[name]) if name in stashed else None
        chunks.append(MaskChunk(kernel.flat(tensor), kernel.flat(there), room))
    kernel.apply_mask(chunks)
