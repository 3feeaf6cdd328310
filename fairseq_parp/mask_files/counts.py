"""Counts of zeros: of a mask, or of the weights of a checkpoint. Counting a mask file needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fairseq_parp.architectures import kind_of, layer_of
from fairseq_parp.kinds import MASK_FILE
from fairseq_parp.kinds import kind_of as kind_of_file
from fairseq_parp.safetensors_files import read_masks

if TYPE_CHECKING:
    from fairseq_parp.sparsity import MaskSet


@dataclass(frozen=True)
class Count:
    """Zeros among weights."""

    zeros: int
    size: int

    @classmethod
    def sum(cls, counts: Iterable[Count]) -> Count:
        """Add up counts."""
        every = list(counts)
        return cls(sum(count.zeros for count in every), sum(count.size for count in every))

    @property
    def sparsity(self) -> float:
        """Fraction of zeros; 0 without weights."""
        return self.zeros / max(1, self.size)

    def to_json(self) -> dict[str, float]:
        """Return plain values, the sparsity among them."""
        return {"zeros": self.zeros, "size": self.size, "sparsity": self.sparsity}


@dataclass(frozen=True)
class Zeros:
    """The zeros among the prunable weights.

    Attributes:
        overall: count of all prunable weights.
        layers: counts by layer.
        kinds: counts by kind of module (``q_proj``, ``fc1``, ...).
    """

    overall: Count
    layers: dict[str, Count]
    kinds: dict[str, Count]

    @classmethod
    def of(cls, counts: Mapping[str, Count]) -> Zeros:
        """Add up counts by parameter name."""
        return cls(Count.sum(counts.values()), _group(counts, layer_of), _group(counts, kind_of))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "prunable": self.overall.to_json(),
            "layers": {name: count.to_json() for name, count in self.layers.items()},
            "kinds": {name: count.to_json() for name, count in self.kinds.items()},
        }


def zeros_of(mask: MaskSet) -> Zeros:
    """Count the zeros of a mask."""
    return Zeros.of({name: Count(mask.zeros(name), mask.size(name)) for name in mask.bits})


def zeros_in(path: str | Path) -> Zeros:
    """Count the zeros of a mask in any file that holds one; torch is imported unless it is a mask file.

    Raises:
        MaskError: no such file, or none that holds a mask.
        CheckpointError: the file is damaged, or would run code when loaded.
    """
    if kind_of_file(path) != MASK_FILE:
        from fairseq_parp.mask_files.reading import read_mask

        return zeros_of(read_mask(path))
    bits, shapes = read_masks(path, "np")
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    ones = {name: int(np.unpackbits(packed).sum(dtype=np.int64)) for name, packed in bits.items()}
    return Zeros.of({name: Count(size - ones[name], size) for name, size in sizes.items()})


def _group(counts: Mapping[str, Count], key: Callable[[str], str]) -> dict[str, Count]:
    members: dict[str, list[Count]] = {}
    for name, count in counts.items():
        members.setdefault(key(name), []).append(count)
    return {name: Count.sum(group) for name, group in members.items()}
