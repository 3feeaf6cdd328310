"""Small things that every place where fairseq calls us needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from fairseq_parp.errors import ParpError


class OneLineExit(SystemExit):
    """Ends one of fairseq's commands with one line on standard error and status 1.

    Hydra prints a traceback for every other exception. ``error`` is the typed error that was raised.
    """

    def __init__(self, error: ParpError) -> None:
        super().__init__(f"fairseq_parp: {error}")
        self.error = error


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a :class:`ParpError` into :class:`OneLineExit`, unless HYDRA_FULL_ERROR=1 asks for a traceback."""
    try:
        yield
    except ParpError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise OneLineExit(error) from error


def load_plugin() -> None:
    """Register the task and the model with fairseq, as ``common.user_dir`` does."""
    from argparse import Namespace

    from fairseq.utils import import_user_module

    import_user_module(Namespace(user_dir=str(Path(__file__).parent)))
    # Where this package was imported under its own name before, fairseq takes it for loaded.
    import fairseq_parp.models.parp_wav2vec_ctc
    import fairseq_parp.tasks.parp_finetuning  # noqa: F401


def unwrapped(model: Any) -> Any:
    """Return the model inside fairseq's distributed wrapper, or the model itself."""
    return getattr(model, "module", model)


def convolutions(model: nn.Module) -> list[tuple[int, int]]:
    """Return (kernel, stride) of the convolutions of the module called ``feature_extractor``, in their order."""
    return [
        (module.kernel_size[0], module.stride[0])
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv1d) and "feature_extractor" in name.split(".")
    ]
