"""A mask from any file whose zeros are known: mask file, checkpoint, bare state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq_parp import checkpoints
from fairseq_parp.checkpoints import compact
from fairseq_parp.errors import MaskError, absolute
from fairseq_parp.files import is_torch_saved
from fairseq_parp.kinds import MASK_FILE, absent, kind_of
from fairseq_parp.mask_files import ANY_MASK
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.scope import in_paper_scope
from fairseq_parp.sparsity.sharing import distinct, first_names
from fairseq_parp.sparsity.upgrade import find_state, upgraded_state

_PRUNED = re.compile(r"(.*(?:weight|bias))_mask")
"""Ending of ``torch.nn.utils.prune`` for the mask of a parameter."""


def read_mask(path: str | Path) -> MaskSet:
    """Read a mask from any file that holds one.

    That is a mask file of this project; a checkpoint or state dict pruned by ``torch.nn.utils.prune``, as the released
    PARP scripts wrote them (``weight_mask`` beside ``weight_orig``); or the zeros of any other checkpoint, within the
    scope that it was pruned in, or else the paper's.

    Raises:
        MaskError: no such file, or none of these.
        CheckpointError: the file is damaged, or would run code when loaded.
    """
    file = Path(path)
    if not file.is_file():
        raise MaskError(f"no mask file at {absolute(file)}: {absent(file)}")
    other = kind_of(file)
    if other not in (None, MASK_FILE):
        raise MaskError(f"{absolute(file)}: not a mask, but {other}; a mask is a {ANY_MASK}")
    if not is_torch_saved(file) and not _is_compact(file):
        return MaskSet.load(file)
    state = checkpoints.load(file, with_fairseq=False)
    named = named_tensors(state)
    return _of_prune(named, file) if any(map(_PRUNED.fullmatch, named)) else _of_zeros(state, distinct(named), file)


def _is_compact(file: Path) -> bool:
    with file.open("rb") as opened:
        return compact.is_compact(opened) and kind_of(file) is None


def tensors_of(state: Any) -> dict[str, Tensor]:
    """Return the tensors of :func:`named_tensors`, those with several names once, under the first."""
    return distinct(named_tensors(state))


def named_tensors(state: Any) -> dict[str, Tensor]:
    """Return the model's tensors in a file of ``torch.save``: a checkpoint with ``model``, or a bare state dict."""
    model = state.get("model", state) if isinstance(state, Mapping) else {}
    return {str(name): value for name, value in model.items() if isinstance(value, Tensor)}


def pruned_names(state: Any, tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names that a checkpoint's run pruned; the paper's scope for another's checkpoint; may be empty."""
    saved = saved_pruning(state).get("mask") or in_paper_scope(tensors)
    return [name for name in saved if name in tensors]


def saved_pruning(state: Any) -> Mapping[str, Any]:
    """Return the pruning facts that a training of this project saved; empty for other checkpoints."""
    entry = find_state(state.get("extra_state") if isinstance(state, Mapping) else None)
    return {} if entry is None else upgraded_state(entry["pruning"])


def _of_prune(tensors: Mapping[str, Tensor], file: Path) -> MaskSet:
    every = {match[1]: tensor for name, tensor in tensors.items() if (match := _PRUNED.fullmatch(name))}
    first = first_names({name: tensors.get(f"{name}_orig", mask) for name, mask in every.items()})
    masks = {name: mask for name, mask in every.items() if first[name] == name}
    for name, mask in masks.items():
        original = tensors.get(f"{name}_orig")
        if original is not None and original.shape != mask.shape:
            was = f"{tuple(mask.shape)}, {name}_orig has {tuple(original.shape)}"
            raise MaskError(f"{absolute(file)}: {name}_mask has shape {was}")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise MaskError(f"{absolute(file)}: {name}_mask has values other than 0 and 1")
    return MaskSet.of_nonzero(masks)


def _of_zeros(state: Any, tensors: Mapping[str, Tensor], file: Path) -> MaskSet:
    names = pruned_names(state, tensors)
    if not names:
        raise MaskError(f"{absolute(file)}: no mask, and no Transformer or conformer layer whose zeros could be one")
    return MaskSet.of_nonzero({name: tensors[name].contiguous() for name in names})
