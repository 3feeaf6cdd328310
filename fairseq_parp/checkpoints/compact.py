"""A sparse checkpoint as one safetensors file: the bits of each sparse tensor's mask, and the values that are kept.

Layout, version 1. A dense tensor ``X`` is stored as ``X``. A tensor ``X`` with at least :data:`MIN_ZEROS` zeros is two:

- ``X.bitmask``: uint8, ``ceil(n / 8)`` bytes, lowest bit first, 1 where a value is kept.
- ``X.values``: the kept values, flat, in order.

A value is kept unless all its bits are 0: -0.0 is kept, and everything comes back bit for bit. The metadata has
``format``, ``content`` (JSON: shapes, config, symbols of the dictionary, pruning) and ``sha256`` of the content and of
all tensors in the order of their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

from fairseq_parp.sparsity import kernels, masking
from fairseq_parp.sparsity.masks import require_bits
from fairseq_parp.sparsity.packing import pack, pack_nonzero
from fairseq_parp.sparsity.upgrade import MARKER, VERSION

FORMAT = "fairseq_parp.compact.1"
MIN_ZEROS = 0.1
"""Share of zeros from which on a mask is stored: its bits take a 32nd of fp32 values, a 16th of half ones."""

MAX_HEADER = 100_000_000
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_compact(file: IO[bytes]) -> bool:
    """Return whether an open file begins like a compact checkpoint; the file is left at its start."""
    file.seek(0)
    start = file.read(9)
    file.seek(0)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def encode(tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> bytes:
    """Return the file.

    Args:
        tensors: of the model, by name.
        content: plain values to keep beside them.
    """
    from safetensors.torch import save

    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        flat = tensor.detach().contiguous().view(-1)
        kept = flat.view(_BITS[flat.element_size()]) != 0
        if flat.is_floating_point() and int(kept.sum()) <= (1 - MIN_ZEROS) * flat.numel():
            stored |= {f"{name}.bitmask": pack(kept), f"{name}.values": flat[kept]}
        else:
            stored[name] = flat.view(tensor.shape).clone()
    text = json.dumps({**content, "shapes": shapes}, ensure_ascii=False)
    return bytes(save(stored, {"format": FORMAT, "content": text, "sha256": checksum(text, stored)}))


def decode(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and content of a file.

    Raises:
        ValueError: it is truncated or altered, or no compact checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        stored = load(data)
        text, written, form = metadata["content"], metadata["sha256"], metadata["format"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"truncated, damaged or no compact checkpoint ({type(error).__name__}: {error})") from None
    if form != FORMAT:
        raise ValueError(f"format {form!r}, expected {FORMAT!r}")
    if checksum(text, stored) != written:
        raise ValueError("altered: its SHA-256 is not the one that was written")
    content = dict(json.loads(text))
    return {name: _whole(name, tuple(shape), stored) for name, shape in content.pop("shapes").items()}, content


def pruning_state(tensors: Mapping[str, Tensor], config: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the entry of ``extra_state`` that says what was pruned, with the masks of the tensors' zeros."""
    masks = {name: pack_nonzero(tensors[name]) for name in names if name in tensors}
    state = {"marker": MARKER, "version": VERSION, "config": dict(config), "pruned_at": 0, "mask": masks,
             "stashed": {}, "method": {}}  # fmt: skip
    return {"compact": {"pruning": state}}


def _whole(name: str, shape: tuple[int, ...], stored: Mapping[str, Tensor]) -> Tensor:
    if name in stored:
        if tuple(stored[name].shape) != shape:
            raise ValueError(f"{name} has shape {tuple(stored[name].shape)}, its header names {shape}")
        return stored[name]
    try:
        bits, values = stored[f"{name}.bitmask"], stored[f"{name}.values"]
    except KeyError as error:
        raise ValueError(f"has no tensor {error}") from None
    require_bits("the file", name, bits, shape)
    whole = torch.ones(shape, dtype=values.dtype)
    # three compiled passes: zeros where a value belongs, the values in their places, zeros in all others
    masking.apply_mask({name: whole}, {name: ~bits})
    kernel = kernels.choose([whole])
    kernel.scatter([(kernel.flat(whole), kernel.flat(values))])
    masking.apply_mask({name: whole}, {name: bits})
    return whole


def checksum(text: str, stored: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, of a text and of all tensors in the order of their names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(stored):
        found.update(name.encode())
        found.update(stored[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
