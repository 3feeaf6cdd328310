"""Packs booleans as bits, eight to a byte, and divides tensors into the flat chunks that a pass processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from fairseq_parp.errors import ParpError

CHUNK = 1 << 17
"""Elements of a chunk; a multiple of 8, so that packed masks split at bytes."""

_POPCOUNT = torch.tensor([bin(byte).count("1") for byte in range(256)])

# Row b holds byte b's eight bits as eight bytes of 0 or 1, lowest first: unpacking is looking up.
_EIGHT_BITS = ((torch.arange(256).unsqueeze(1) >> torch.arange(8)) & 1).to(torch.uint8).view(torch.int64).view(-1)


def flat(tensor: Tensor) -> Tensor:
    """Return a flat view of ``tensor``, without its gradient.

    Raises:
        ParpError: the tensor is not contiguous, so that a flat view of it cannot be written to.
    """
    require_contiguous(tensor)
    return tensor.detach().view(-1)


def require_contiguous(tensor: Tensor) -> None:
    """Raise ParpError where a flat view of ``tensor`` cannot be written to."""
    if not tensor.is_contiguous():
        raise ParpError(f"cannot prune a tensor of shape {tuple(tensor.shape)} whose memory is not contiguous")


def chunks(tensor: Tensor) -> Iterator[Tensor]:
    """Yield flat views of ``tensor``, :data:`CHUNK` elements each.

    Raises:
        ParpError: the tensor is not contiguous.
    """
    yield from flat(tensor).split(CHUNK) if tensor.numel() else ()


def pack_nonzero(tensor: Tensor) -> Tensor:
    """Return bits that are 1 where ``tensor`` is not zero: uint8, ``ceil(n / 8)`` bytes, lowest bit first."""
    return _join([pack(values != 0) for values in chunks(tensor)], tensor.device)


def room_for_bits(tensor: Tensor) -> Tensor:
    """Return an uninitialised buffer with one bit for each element of ``tensor``."""
    return torch.empty(-(-tensor.numel() // 8), dtype=torch.uint8, device=tensor.device)


def pack(kept: Tensor) -> Tensor:
    """Pack flat booleans, eight to a byte, by one multiplication per byte.

    Eight bytes of 0 or 1 are one 64-bit integer; the factor moves byte i's bit to bit 56 + i, and no two
    products meet below bit 56 in a way that carries.
    """
    padded = kept if kept.numel() % 8 == 0 else torch.cat([kept, kept.new_zeros(-kept.numel() % 8)])
    words = padded.view(torch.uint8).view(torch.int64)
    return ((words * 0x0102_0408_1020_4080) >> 56).to(torch.uint8)


def unpack(bits: Tensor, size: int) -> Tensor:
    """Return ``size`` booleans from packed bits, flat."""
    return _EIGHT_BITS.to(bits.device)[bits.int()].view(torch.bool)[:size]


def ones(bits: Tensor) -> int:
    """Count the 1s in packed bits."""
    if bits.device.type == "cpu" and hasattr(np, "bitwise_count"):  # numpy 2 has it, and takes eight bytes at a time
        array = bits.numpy()
        return int(np.bitwise_count(array if array.size % 8 else array.view(np.uint64)).sum())
    return int((torch.bincount(bits, minlength=256).cpu() * _POPCOUNT).sum())


def _join(packed: Iterable[Tensor], device: torch.device) -> Tensor:
    return torch.cat([torch.zeros(0, dtype=torch.uint8, device=device), *packed])
