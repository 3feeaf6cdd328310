"""A checkpoint with a mask applied: the same content, with zeros."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.files import write_whole
from fairseq_parp.mask_files.reading import named_tensors
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.sharing import distinct, first_names


def apply_mask(checkpoint: str | Path, mask: MaskSet, out: str | Path) -> int:
    """Write ``checkpoint`` to ``out`` with the zeros of the mask; return the number of those zeros.

    All other content is kept, except the state with which a PARP run resumes: that run had other weights.

    Raises:
        CheckpointError: the file cannot be read safely, or ``out`` is the same file.
        MaskError: the mask belongs to another model; nothing is written.
    """
    if Path(out).exists() and Path(out).samefile(checkpoint):
        raise CheckpointError(absolute(out), "is the checkpoint itself, which is not overwritten; name another file")
    state = checkpoints.read(checkpoint)
    named = named_tensors(state)
    tensors = distinct(named)
    fitting = mask.renamed(tensors)
    there = {name: tuple(tensors[name].shape) for name in fitting.bits if name in tensors}
    fitting.require_same_model(there, absolute(checkpoint))
    pruned = {name: tensors[name].clone(memory_format=torch.contiguous_format) for name in fitting.bits}
    fitting.zero_(pruned)
    state["model"].update({name: pruned[first] for name, first in first_names(named).items() if first in pruned})
    (state.get("extra_state") or {}).pop("ParpFinetuningTask", None)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(out, buffer.getvalue())
    return fitting.zeros()
