"""The passes in torch: any device, and types that are mixed (all become fp32, or fp64 where one of them is)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_parp.sparsity import packing
from fairseq_parp.sparsity.kernels import INTEGERS, Counts, Kernel, Keys

_UNDER_TORCHS_GRAIN = (1 << 15) - 8
"""Elements below which torch works on one thread: threads of ours, each on its piece, wait less for one another."""


class Tensors(Kernel):
    """Takes flat views as they are.

    Args:
        wide: the keys are those of fp64, else of fp32.
        cpu: all tensors are in main memory.
    """

    def __init__(self, wide: bool, cpu: bool) -> None:
        self.wide = wide
        self.piece = _UNDER_TORCHS_GRAIN if cpu else 1 << 22
        self.threads = torch.get_num_threads() if cpu else 1
        self.infinity = 0x7FF0_0000_0000_0000 if wide else 0x7F80_0000

    def flat(self, tensor: Tensor) -> Tensor:
        """Return a flat view."""
        return packing.flat(tensor)

    def keys(self, values: Tensor) -> Keys:
        """Return the keys in main memory."""
        return self._keys(values).cpu().numpy()

    def look(self, values: Tensor, low: int, high: int, most: int) -> tuple[Counts, Keys | None]:
        """Count by comparing, select by a boolean index; see :class:`Kernel`."""
        if not len(values):
            return Counts(0, 0, True), np.empty(0, np.int64)
        keys = self._keys(values)
        below, until = keys < low, keys < max(low, high)
        found = _where(keys, below ^ until)
        counts = Counts(int(torch.count_nonzero(below)), len(found), bool(keys.max() < self.infinity))
        return counts, found.cpu().numpy() if len(found) <= most else None

    def histogram(self, values: Tensor, low: int, high: int, shift: int) -> NDArray[np.int64]:
        """Count digits; see :class:`Kernel`."""
        digits = (_within(self._keys(values), low, high) - low) >> shift
        return torch.bincount(digits, minlength=((high - 1 - low) >> shift) + 1).cpu().numpy()

    def sweep(
        self, values: Tensor, weights: Tensor | None, key: int, split: int, bits: Any, before: Any | None
    ) -> tuple[int, int]:
        """Zero by integer arithmetic: a masked fill asks at every element; see :class:`Kernel`."""
        keys = self._keys(values)
        kept = keys >= key
        kept[:split] &= keys[:split] != key
        if weights is not None:
            if weights is not values:
                kept &= weights != 0
                _keep(weights, kept)
            _keep(values, kept)
        bits.copy_(packing.pack(kept))
        return int(torch.count_nonzero(kept)), 0 if before is None else packing.ones(bits ^ before)

    def _keys(self, values: Tensor) -> Tensor:
        if self.wide:
            return values.double().view(torch.int64) & 0x7FFF_FFFF_FFFF_FFFF
        return values.float().view(torch.int32) & 0x7FFF_FFFF


def _keep(values: Tensor, kept: Tensor) -> None:
    """Zero what is not kept: -1 as an integer is all ones, 0 none."""
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
