"""Bytes of parts, counted by purpose."""

from __future__ import annotations

from torch import Tensor

from fairseq_parp.parts.part import Part


def bytes_by_kind(part: Part) -> dict[str, int]:
    """Return the bytes of a part's tensors: masks, adapters, LoRA, and all others (head and vectors)."""
    found = {"mask": sum(map(_bytes, part.mask.bits.values())), "adapters": 0, "lora": 0, "head and vectors": 0}
    for name, value in part.tensors.items():
        kind = "adapters" if ".adapter." in name else "lora" if ".lora." in name else "head and vectors"
        found[kind] += _bytes(value)
    return found


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
