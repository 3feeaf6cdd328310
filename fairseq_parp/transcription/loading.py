"""Loading a finetuned checkpoint with fairseq, to decode."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from fairseq_parp.checkpoints.finetuned import complete
from fairseq_parp.classification.registry import CLASSIFIERS
from fairseq_parp.compat.no_eval import building
from fairseq_parp.errors import CheckpointError, OneLineExit, absolute
from fairseq_parp.plugin import load_plugin

if TYPE_CHECKING:
    from fairseq.data import Dictionary
    from torch import nn


@dataclass(frozen=True)
class Finetuned:
    """A finetuned model, ready to decode.

    Attributes:
        model: the model, in evaluation mode, on the CPU.
        dictionary: fairseq's Dictionary of the labels; the blank is symbol 0.
        labels: kind of labels, such as ``ltr``.
        normalize: whether audio is to have zero mean and unit variance.
        sample_rate: sampling rate in Hz.
    """

    model: nn.Module
    dictionary: Dictionary
    labels: str
    normalize: bool
    sample_rate: int


def load_finetuned(
    path: str | Path,
    dictionary: str | Path | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    classifier: bool = False,
) -> Finetuned:
    """Load a finetuned checkpoint for decoding. Nothing is pruned.

    The pretrained file is needed only if the checkpoint lacks its config (``model.w2v_args``).

    Args:
        path: the checkpoint, of this plugin's task or of another one's.
        dictionary: the labels' ``dict.ltr.txt``, in place of the checkpoint's.
        overrides: new values by key of the checkpoint's config, such as ``model.w2v_path``, values as text.
        classifier: the checkpoint is to hold a classifier of utterances; by default a CTC model.

    Raises:
        CheckpointError: the file cannot be read, holds another kind of model, or lacks an entry, which the error names.
        ConfigError, ManifestError: an override or the dictionary cannot be used.
    """
    from fairseq import checkpoint_utils

    load_plugin()
    with one_file(path):
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        if not classifier and state["cfg"].task._name in CLASSIFIERS:
            raise CheckpointError(absolute(path), "holds a classifier; fairseq-parp classify prints its labels")
        complete(state, path, dictionary, overrides or {})
        return _built(state, path)


def finetuned_of(state: dict[str, Any], path: str | Path) -> Finetuned:
    """Build a finetuned checkpoint that was not read from one file; it is changed.

    Args:
        state: the checkpoint, its ``cfg`` plain values.
        path: an existing file, for messages.

    Raises:
        CheckpointError: it holds no CTC model.
    """
    load_plugin()
    with one_file(path):
        state["cfg"] = OmegaConf.create(state["cfg"])
        OmegaConf.set_struct(state["cfg"], True)
        complete(state, path, None, {})
        return _built(state, path)


@contextlib.contextmanager
def one_file(path: str | Path) -> Iterator[None]:
    """Let fairseq load one checkpoint quietly and without running code of it.

    Raises:
        ParpError: the loading failed; the error names this file.
    """
    try:
        # fairseq prints a model whose pretrained weights it loads.
        with building(), contextlib.redirect_stdout(io.StringIO()):
            yield
    except OneLineExit as stop:
        raise stop.error from None
    except (FileNotFoundError, OSError) as error:
        raise CheckpointError(absolute(path), str(error)) from None


def _built(state: dict[str, Any], path: str | Path) -> Finetuned:
    from fairseq import checkpoint_utils

    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    if getattr(task.cfg, "labels", None) is None:
        raise CheckpointError(absolute(path), f"holds {cfg.model._name}, which was not finetuned on labels")
    model.eval()
    return Finetuned(model, task.target_dictionary, task.cfg.labels, bool(task.cfg.normalize), task.cfg.sample_rate)
