"""Makes a finetuned checkpoint from a base and a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.architectures import is_adapter
from fairseq_parp.checkpoints.contents import require_fairseq
from fairseq_parp.checkpoints.pickles import RefusedError
from fairseq_parp.checkpoints.reading import rebuilt
from fairseq_parp.errors import CheckpointError, MaskError, PartError, absolute
from fairseq_parp.files import writing_whole
from fairseq_parp.parts.base import Base
from fairseq_parp.parts.part import Part
from fairseq_parp.plugin import load_plugin


def apply(base: str | Path, file: str | Path, out: str | Path) -> Part:
    """Write the finetuned checkpoint of a part and its base, and return the part.

    The checkpoint has no optimizer state and no random states, so a training cannot be resumed from it.

    Raises:
        CheckpointError: the base cannot be read, or ``out`` is the base.
        PartError: the part cannot be read, or belongs to another base.
    """
    load_plugin()
    part = Part.load(file)
    if Path(out).exists() and any(Path(out).samefile(each) for each in (base, file)):
        raise CheckpointError(absolute(out), "is one of the files to read, which is not overwritten; name another file")
    opened = Base.open(base)
    opened.require(file, part)
    with writing_whole(out) as written:
        torch.save(state_of(opened, file, part), written)
    return part


def state_of(base: Base, file: str | Path, part: Part) -> dict[str, Any]:
    """Return the finetuned checkpoint.

    Args:
        base: base of the part.
        file: path of the part, for messages.
        part: content of the file.

    Raises:
        PartError: the config in the part cannot be used.
    """
    tensors = {name: _tensor(base, part, name) for name in part.shapes}
    return checked(file, part, tensors)


def unmarked_state(base: Base, file: str | Path, part: Part) -> dict[str, Any]:
    """Return the finetuned checkpoint without its mask, its adapters and the vectors that it trained; see above."""
    whole = {name: base.tensor(name) for name in part.shapes if not is_adapter(name)}
    alike = {name: part.tensors[name] if value is None or value.shape != part.shapes[name] else value
             for name, value in whole.items()}  # fmt: skip
    return checked(file, part, alike)


def checked(file: str | Path, part: Part, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return a checkpoint of tensors and a part's content; errors as :func:`state_of`."""
    try:
        state = rebuilt(tensors, part.content)
        require_fairseq(state)
    except (ValueError, KeyError, TypeError, RefusedError, MaskError) as error:
        raise PartError(file, f"not a part that can be used ({error})") from None
    return state


def _tensor(base: Base, part: Part, name: str) -> Tensor:
    if name in part.tensors:
        return part.tensors[name]
    value = base.tensor(name)
    if value is None:
        raise KeyError(name)  # Base.require has checked this
    if name in part.mask.bits:
        value = value.clone(memory_format=torch.contiguous_format)
        single = type(part.mask)({name: part.mask.bits[name]}, {name: part.mask.shapes[name]})
        single.zero_({name: value})
    return value
