"""Checkpoints load under torch >= 2.6, and safely: no class outside a short list, and no code, is run.

Concerns: fairseq 0.12.2 and fairseq-fixed 0.12.3.1 call ``torch.load`` without saying what they allow; torch
>= 2.6 then refuses the ``argparse.Namespace`` and ``Dictionary`` that real checkpoints hold. fairseq's own
main answers with ``weights_only=False``, which runs whatever the file says.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.glue import one_line_errors


class _TorchWithSafeLoad:
    """Stands in for ``torch`` inside fairseq's ``checkpoint_utils`` while it reads one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self, file: Any, **_options: Any) -> dict[str, Any]:
        """Read the open file as :func:`fairseq_parp.checkpoints.read` does."""
        return checkpoints.read(file, name=self._path)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def install() -> None:
    """Wrap ``checkpoint_utils.load_checkpoint_to_cpu``, which all of fairseq's loading goes through."""
    from fairseq import checkpoint_utils

    original = checkpoint_utils.load_checkpoint_to_cpu
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path: str, *args: Any, **kwargs: Any) -> Any:
        with one_line_errors():
            if "://" not in str(path) and not Path(path).is_file():
                raise CheckpointError(absolute(path), "no such file")
            checkpoint_utils.torch = _TorchWithSafeLoad(path)
            try:
                return original(path, *args, **kwargs)
            finally:
                checkpoint_utils.torch = torch

    load_checkpoint_to_cpu.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu
