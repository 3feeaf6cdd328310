"""The passes in torch: any device, and types that are mixed (all become fp32, or fp64 where one of them is)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.sparsity import packing
from fairseq_parp.sparsity.kernels import INTEGERS, Keys, ThresholdChunk
from fairseq_parp.sparsity.kernels.chunkwise import Chunkwise, Counts


class Tensors(Chunkwise):
    """Takes flat views as they are.

    Args:
        wide: the keys are those of fp64, else of fp32.
        cpu: all tensors are in main memory.
    """

    chunk = 1 << 19  # of temporary tensors there are several as large

    def __init__(self, wide: bool, cpu: bool) -> None:
        self.wide = wide
        if not cpu:
            self.chunk = 1 << 22
        self.infinity = 0x7FF0_0000_0000_0000 if wide else 0x7F80_0000

    @property
    def threads(self) -> int:
        """One: torch itself works on several."""
        return 1

    def flat(self, tensor: Tensor) -> Tensor:
        """Return a flat view."""
        return packing.flat(tensor)

    def _keys_of(self, values: Tensor) -> Keys:
        return self._keys(values).cpu().numpy()

    def _count_and_collect_in(self, values: Tensor, low: int, high: int, room: int) -> tuple[Counts, Keys | None]:
        if not len(values):
            return Counts(0, 0, True), np.empty(0, np.int64)
        keys = self._keys(values)
        below, until = keys < low, keys < max(low, high)
        found = _where(keys, below ^ until)
        counts = Counts(int(torch.count_nonzero(below)), len(found), bool(keys.max() < self.infinity))
        return counts, found.cpu().numpy() if len(found) <= room else None

    def _histogram_of(self, values: Tensor, low: int, high: int, shift: int) -> NDArray[np.int64]:
        digits = (_within(self._keys(values), low, high) - low) >> shift
        return torch.bincount(digits, minlength=((high - 1 - low) >> shift) + 1).cpu().numpy()

    def _places_of(self, values: Tensor, key: int) -> Tensor:
        return (self._keys(values) == key).nonzero()

    def _apply_threshold_to(self, target: ThresholdChunk, key: int) -> None:
        values, weights, split, bits, _ = target
        keys = self._keys(values)
        kept = keys >= key + (split == len(values))
        if split < len(values):
            kept[:split] &= keys[:split] != key
        if weights is not None:  # by integer arithmetic: a masked fill asks at every element
            if weights is not values:
                kept &= weights != 0
                _keep(weights, kept)
            _keep(values, kept)
        bits.copy_(packing.pack(kept))

    def _apply_mask_to(self, values: Tensor, bits: Tensor, stashed: Tensor | None) -> int:
        kept = packing.unpack(bits, len(values))
        count = 0
        if stashed is not None:
            dropped = values[~kept]
            count = len(dropped)
            stashed[:count] = dropped
        _keep(values, kept)
        return count

    def _scatter_into(self, values: Tensor, stashed: Tensor) -> int:
        places = (values == 0).nonzero()[:, 0]
        values[places] = stashed[: len(places)]
        return len(places)

    def _ones(self, bits: Tensor) -> int:
        return packing.ones(bits)

    def _keys(self, values: Tensor) -> Tensor:
        if self.wide:
            return values.double().view(torch.int64) & 0x7FFF_FFFF_FFFF_FFFF
        return values.float().view(torch.int32) & 0x7FFF_FFFF


def _keep(values: Tensor, kept: Tensor) -> None:
    """Zero the dropped weights: the integer -1 has all bits set, 0 has none."""
    integers = values.view(INTEGERS[values.element_size()])
    integers &= kept.to(integers.dtype).neg_()


def _where(keys: Tensor, wanted: Tensor) -> Tensor:
    """Return ``keys[wanted]``, fast where few are wanted: eight are passed over at a time."""
    whole = len(keys) - len(keys) % 8
    some = wanted[:whole].view(torch.uint8).view(torch.int64).nonzero()[:, 0]
    near = keys[:whole].view(-1, 8)[some][wanted[:whole].view(-1, 8)[some]]
    return near if whole == len(keys) else torch.cat((near, keys[whole:][wanted[whole:]]))


def _within(keys: Tensor, low: int, high: int) -> Tensor:
    return keys[(keys >= low) & (keys < high)]
