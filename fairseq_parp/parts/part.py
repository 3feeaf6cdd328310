"""A part's file: the result of a finetuning, relative to the pretrained model, the base.

Layout, version 1, safetensors. Names are those of the finetuned model.

- ``X.mask``: the base's ``X`` under a mask: uint8, ``ceil(n / 8)`` bytes, lowest bit first, 0 where the value is zero.
- ``X``: a tensor that the base lacks (head, adapter, LoRA), or a vector of the base that was trained.
- Every other tensor of the model is the base's.

The metadata has ``format``, ``content`` (JSON, :data:`KEYS`), and ``sha256`` of the content and of all tensors in the
order of their names.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.checkpoints.finetuned import CTC_HEAD, POOLED_HEAD
from fairseq_parp.errors import MaskError, PartError, first_line
from fairseq_parp.files import write_whole
from fairseq_parp.kinds import EMPTY, PART_FILE, absent, kind_of
from fairseq_parp.safetensors_files import in_order, opened, require_bits
from fairseq_parp.sparsity import MaskSet

FORMAT = "fairseq_parp.part."
VERSION = 1

MASK = ".mask"

KEYS: Mapping[str, type] = {
    "base": str,  # SHA-256 of the base's file
    "language": str,
    "method": str,  # the part's components, such as mask+head
    "labels": str,  # kind of labels; empty for tasks without
    "normalize": bool,  # whether audio is to have zero mean and unit variance
    "sample_rate": int,  # in Hz
    "symbols": list,  # [symbol, count] of the dictionary, in the order of the head's rows
    "shapes": dict,  # of all tensors of the finetuned model
    "cfg": dict,  # of the finetuned model
    "history": dict,  # of the training: updates, best loss
    "pruning": dict,  # task.pruning
    "pruned": list,  # names of the pruned tensors
    "adapters": dict,  # task.adapters, and the counts of trained parameters
}
"""The content's keys and their types."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        content: plain values, see :data:`KEYS`.
        tensors: the tensors that are stored whole, by name.
        mask: masks of the base's weights, by the finetuned model's names.
    """

    content: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    mask: MaskSet

    def __repr__(self) -> str:
        return f"Part({self.language!r}, {self.content['method']}, {len(self.tensors)} tensors, mask {self.mask})"

    @property
    def language(self) -> str:
        """The name of the part."""
        return str(self.content["language"])

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the finetuned model, by name."""
        return {name: tuple(shape) for name, shape in self.content["shapes"].items()}

    def save(self, path: str | Path) -> None:
        """Write the file, completely or not at all; equal parts are equal files.

        Raises:
            PartError: the part has no head, or its dictionary has another number of symbols; nothing is written.
        """
        from safetensors.torch import save

        try:
            self._require_head()
        except ValueError as error:
            raise PartError(path, f"is not written: {error}") from None
        stored = {name: value.detach().contiguous().clone() for name, value in self.tensors.items()}
        stored |= {f"{name}{MASK}": bits for name, bits in self.mask.bits.items()}
        text = json.dumps(self.content, ensure_ascii=False)
        metadata = {"format": f"{FORMAT}{VERSION}", "content": text, "sha256": checksum(text, stored)}
        write_whole(path, in_order(bytes(save(stored, metadata))))

    @classmethod
    def load(cls, path: str | Path) -> Part:
        """Read a part, without running code from the file.

        Raises:
            PartError: the file is missing, no part, damaged or of a newer format; or the part has no head, or its
                dictionary has another number of symbols.
        """
        if reason := _other_kind(path):
            raise PartError(path, reason)
        try:
            with opened(path) as file:
                metadata = file.metadata() or {}
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except MaskError as error:
            raise PartError(path, str(error).removeprefix(f"{Path(path).expanduser().absolute()}: ")) from None
        _require_format(path, metadata.get("format"))
        text = metadata.get("content", "")
        if checksum(text, stored) != metadata.get("sha256"):
            raise PartError(path, "altered: its SHA-256 is not the one that was written")
        try:
            part = cls._of(_content(text), stored)
            part._require_head()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, MaskError) as error:
            raise PartError(path, f"not a part that can be used ({first_line(error)})") from None
        return part

    @classmethod
    def _of(cls, content: Mapping[str, Any], stored: Mapping[str, Tensor]) -> Part:
        shapes = {name: tuple(shape) for name, shape in content["shapes"].items()}
        bits = {name.removesuffix(MASK): value for name, value in stored.items() if name not in shapes}
        for name, value in bits.items():
            if f"{name}{MASK}" not in stored or name not in shapes or name in stored:
                raise ValueError(f"it has a tensor {name} that its shapes do not name")
            require_bits("the file", name, value, shapes[name])
        tensors = {name: value for name, value in stored.items() if name in shapes}
        for name, value in tensors.items():
            if tuple(value.shape) != shapes[name]:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, its content names {shapes[name]}")
        return cls(content, tensors, MaskSet(bits, {name: shapes[name] for name in bits}))

    def _require_head(self) -> None:
        """Compare the head with the dictionary.

        Raises:
            ValueError: there is no head, or it has another number of symbols.
        """
        if not self.content["labels"]:
            return
        for name in (POOLED_HEAD,) if POOLED_HEAD in self.shapes else CTC_HEAD:
            if name not in self.tensors:
                raise ValueError(f"it has no head: {name} is missing")
            if len(self.tensors[name]) != len(self.content["symbols"]):
                rows, symbols = len(self.tensors[name]), len(self.content["symbols"])
                raise ValueError(f"its dictionary disagrees with its head: {symbols} symbols, {rows} rows of {name}")


def checksum(text: str, stored: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal, of a text and of all tensors in the order of their names."""
    found = hashlib.sha256(text.encode())
    for name in sorted(stored):
        found.update(name.encode())
        found.update(stored[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _other_kind(path: str | Path) -> str | None:
    """Return why a path is no part, by its first bytes; None where it may be one."""
    if not Path(path).is_file():
        return absent(path)
    if zipfile.is_zipfile(path):
        return "not a part, but a checkpoint, which fairseq-parp part extract makes a part of"
    kind = kind_of(path)
    return f"not a part, but {kind}" if kind and kind not in (PART_FILE, EMPTY) else None


def _require_format(path: str | Path, form: object) -> None:
    match = re.fullmatch(re.escape(FORMAT) + r"(\d{1,9})", str(form))
    if match is None:
        raise PartError(path, f"no part of this project: its format is {str(form)[:60]!r}, expected {FORMAT}{VERSION}")
    if int(match[1]) > VERSION:
        known = f"this version of the package reads up to {FORMAT}{VERSION}; install a newer one"
        raise PartError(path, f"its format is {form}; {known}")


def _content(text: str) -> dict[str, Any]:
    content = json.loads(text)
    for key, kind in KEYS.items():
        if not isinstance(content[key], kind):
            raise ValueError(f"its {key} is not of type {kind.__name__}")
    for name, shape in content["shapes"].items():
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"the shape of {name} is {shape!r}")
        torch.Size(shape).numel()
    for symbol, count in content["symbols"]:
        if not isinstance(symbol, str) or type(count) is not int:
            raise ValueError("its symbols are not pairs of a text and a count")
    if not re.fullmatch(r"[0-9a-f]{64}", content["base"]):
        raise ValueError("its base is not a SHA-256")
    require_language(content["language"])
    return dict(content)


def require_language(language: str) -> None:
    """Check the name of a part.

    Raises:
        ValueError: the name is empty, or has a space or "=", which the command line and tables cannot contain.
    """
    if not re.fullmatch(r"[^\s=]{1,64}", language):
        raise ValueError(f"language {language[:64]!r}: must have 1 to 64 characters, no space and no '='")
