"""A set of masks, one bit a weight (1 keeps), by parameter name; saved as safetensors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fairseq_parp.errors import MaskError, listing
from fairseq_parp.files import write_whole
from fairseq_parp.safetensors_files import MASKS, in_order, read_masks, safetensors
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.packing import ones, pack_nonzero, unpack


@dataclass
class MaskSet:
    """Masks of several parameters.

    Attributes:
        bits: packed bits by parameter name, uint8, lowest bit first; unused bits of the last byte are 0.
        shapes: the parameters' shapes by the same names.
    """

    bits: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]

    def __repr__(self) -> str:
        return f"MaskSet({self.zeros()} zeros of {self.size()} weights, {len(self.bits)} parameters)"

    @classmethod
    def of_nonzero(cls, tensors: Mapping[str, Tensor]) -> MaskSet:
        """Return the mask whose zeros are the zeros of ``tensors``."""
        return cls(
            {name: pack_nonzero(tensor) for name, tensor in tensors.items()},
            {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        )

    def size(self, name: str | None = None) -> int:
        """Return the number of weights, of one parameter or of all."""
        names = self.shapes if name is None else [name]
        return sum(torch.Size(self.shapes[each]).numel() for each in names)

    def zeros(self, name: str | None = None) -> int:
        """Return the number of zeros, of one parameter's mask or of all."""
        names = self.bits if name is None else [name]
        return self.size(name) - sum(ones(self.bits[each]) for each in names)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros; 0 without weights."""
        return self.zeros() / max(1, self.size())

    def kept(self, name: str) -> Tensor:
        """Return one parameter's mask as booleans in the parameter's shape: True keeps."""
        return unpack(self.bits[name], self.size(name)).view(self.shapes[name])

    def zero_(self, tensors: Mapping[str, Tensor]) -> None:
        """Zero ``tensors`` in place at the zeros of the mask of the same name."""
        masking.apply_mask(tensors, self.bits)

    def churn(self, other: MaskSet) -> int:
        """Return the number of weights that one of the two masks keeps and the other drops."""
        self.require_same_model(other.shapes, "the other mask")
        return sum(ones(bits ^ other.bits[name].to(bits.device)) for name, bits in self.bits.items())

    def renamed(self, names: Iterable[str]) -> MaskSet:
        """Return these masks under the names of a model, if the names differ by one leading part.

        For example, the mask of a pretrained model (``encoder.layers...``) fits the model that is finetuned from it
        (``w2v_encoder.w2v_model.encoder.layers...``), and the reverse. If there is no such part, or more
        than one, the names do not change.
        """
        there = set(names)
        if not self.bits or set(self.bits) <= there:
            return self
        first = next(iter(self.bits))
        fitting = [new for name in there if set((new := _led(self.bits, first, name)).values()) <= there and new]
        if len(fitting) != 1:
            return self
        return MaskSet(
            {fitting[0][name]: bits for name, bits in self.bits.items()},
            {fitting[0][name]: shape for name, shape in self.shapes.items()},
        )

    def digest(self) -> int:
        """Return a checksum (CRC-32) of all bits, in the parameters' order: equal masks have equal digests."""
        checksum = 0
        for bits in self.bits.values():
            checksum = zlib.crc32(bits.cpu().numpy().data, checksum)
        return checksum

    def require_same_model(self, shapes: Mapping[str, tuple[int, ...]], what: str) -> None:
        """Check that this mask is for parameters of exactly these names and shapes.

        Raises:
            MaskError: names or shapes differ; the message names the first difference.
        """
        missing = [name for name in shapes if name not in self.shapes]
        extra = [name for name in self.shapes if name not in shapes]
        if missing or extra:
            raise MaskError(
                f"the mask is of another model than {what}: it lacks {len(missing)} parameter(s) "
                f"({listing(missing, 2) or 'none'}) and has {len(extra)} other(s) ({listing(extra, 2) or 'none'})"
            )
        for name, shape in shapes.items():
            if self.shapes[name] != tuple(shape):
                raise MaskError(f"the mask of {name} has shape {self.shapes[name]}, {what} has {tuple(shape)}")

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and boolean mask, one parameter at a time."""
        return ((name, self.kept(name)) for name in self.bits)

    def save(self, path: str | Path, **notes: str) -> None:
        """Write the masks to ``path`` as safetensors, completely or not at all, with ``notes`` in the metadata."""
        metadata = {"format": MASKS, "shapes": json.dumps(self.shapes), **notes}
        bits = {name: bits.cpu() for name, bits in self.bits.items()}
        write_whole(path, in_order(safetensors("safetensors.torch").save(bits, metadata)))

    @classmethod
    def load(cls, path: str | Path) -> MaskSet:
        """Read masks written by :meth:`save`.

        Raises:
            MaskError: the file is missing, is not a mask file of this project, or is damaged.
        """
        return cls(*read_masks(path))


def _led(names: Iterable[str], first: str, other: str) -> dict[str, str]:
    """Return ``names`` changed by the leading part in which ``first`` differs from ``other``; {} if it is not one."""
    if other.endswith("." + first):
        return {name: other.removesuffix(first) + name for name in names}
    if first.endswith("." + other):
        return {name: name.removeprefix(first.removesuffix(other)) for name in names}
    return {}
