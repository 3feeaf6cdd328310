"""The base: the pretrained model that parts share, identified by the SHA-256 of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.architectures import ARCHITECTURES, family_of
from fairseq_parp.checkpoints.finetuned import HEADS
from fairseq_parp.errors import PartError, absolute
from fairseq_parp.files import sha256
from fairseq_parp.parts.part import Part


@dataclass(frozen=True)
class Base:
    """A pretrained checkpoint, or a finetuned one whose encoder and other tensors are shared.

    Attributes:
        path: path of the file.
        sha256: SHA-256 of the file, in hexadecimal.
        state: content of the checkpoint.
    """

    path: Path
    sha256: str
    state: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Base:
        """Read a checkpoint.

        Raises:
            CheckpointError: the file cannot be read.
        """
        state = checkpoints.read(path)
        return cls(Path(path), sha256(path), state)

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """The model's tensors, by the base's names."""
        return {name: value for name, value in self.state["model"].items() if isinstance(value, Tensor)}

    def tensor(self, name: str) -> Tensor | None:
        """Return the base's tensor for a finetuned model's ``name``, or None.

        The head of a base that is itself finetuned is not shared.
        """
        if name.startswith(HEADS):
            return None
        family = family_of(self.tensors, ARCHITECTURES)
        own = name.removeprefix(f"{family.weights_beneath}.") if family else name
        return self.tensors.get(name, self.tensors.get(own))

    def require(self, path: str | Path, part: Part) -> None:
        """Check that a part belongs to this base.

        Args:
            path: path of the part's file, for messages.
            part: content of the file.

        Raises:
            PartError: the base has other tensors, or its file has another SHA-256.
        """
        for name, shape in part.shapes.items():
            if name in part.tensors:
                continue
            found = self.tensor(name)
            if found is None or tuple(found.shape) != shape:
                has = "has no such tensor" if found is None else f"has {tuple(found.shape)}"
                reason = f"fits another architecture: it needs {name} of shape {shape}, {absolute(self.path)} {has}"
                raise PartError(path, reason)
        if part.content["base"] != self.sha256:
            reason = (
                f"was extracted over a base of SHA-256 {part.content['base']}; {absolute(self.path)} has {self.sha256}"
            )
            raise PartError(path, f"{reason}; name the file that the part was extracted with")
