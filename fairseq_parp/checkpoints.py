"""Reading fairseq checkpoints, old and new, without running what is inside them."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from fairseq_parp.errors import CheckpointError, absolute, listing
from fairseq_parp.glue import OneLineExit, load_plugin

if TYPE_CHECKING:
    from fairseq.data import Dictionary
    from torch import nn

_DICTIONARY = "fairseq.data.dictionary.Dictionary"


class DictionaryStandIn:
    """Takes the place of fairseq's ``Dictionary`` where only the tensors of a checkpoint are of interest."""


def read(source: str | Path | IO[bytes], name: str | None = None, *, with_fairseq: bool = True) -> dict[str, Any]:
    """Read a fairseq checkpoint on the CPU, old (``args`` Namespace) or new (``cfg``) style.

    Raises:
        CheckpointError: as :func:`load`; or the file holds something else than a fairseq checkpoint.
    """
    state = load(source, name, with_fairseq=with_fairseq)
    _require_fairseq(state, absolute(str(source) if name is None else name))
    return dict(state)


def load(source: str | Path | IO[bytes], name: str | None = None, *, with_fairseq: bool = True) -> Any:
    """Read any file that ``torch.save`` wrote, on the CPU, without running what is inside it.

    Beside tensors and plain values only ``argparse.Namespace`` and fairseq's ``Dictionary`` are allowed.

    Args:
        source: path, or open binary file.
        name: what to call it in messages; default ``source``.
        with_fairseq: False reads without importing fairseq; dictionaries are stand-ins then.

    Raises:
        CheckpointError: no such file; truncated or not a checkpoint; a pickle that would run code.
    """
    shown = absolute(str(source) if name is None else name)
    if isinstance(source, (str, Path)) and not Path(source).is_file():
        raise CheckpointError(shown, "no such file")
    try:
        with torch.serialization.safe_globals(_allowed(with_fairseq)):
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(shown, _refusal(str(error))) from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        raise CheckpointError(shown, f"truncated, damaged or not a checkpoint ({_first_line(error)})") from None


def _allowed(with_fairseq: bool) -> list[Any]:
    if not with_fairseq:
        return [argparse.Namespace, (DictionaryStandIn, _DICTIONARY)]
    from fairseq.data.dictionary import Dictionary

    return [argparse.Namespace, Dictionary]


def _refusal(message: str) -> str:
    asked = re.search(r"(?:unsupported|Unsupported)\s+(?:global: )?(?:GLOBAL|class) ([\w.]+)", message)
    if asked:
        return f"refused: its pickle asks for {asked[1]}; only tensors, argparse.Namespace and Dictionary are loaded"
    detail = re.search(r"WeightsUnpickler error: (.*)", message)
    return f"refused or damaged: its pickle cannot be read safely ({detail[1] if detail else 'unpickling failed'})"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _require_fairseq(state: object, shown: str) -> None:
    if not isinstance(state, Mapping):
        raise CheckpointError(shown, f"holds a {type(state).__name__}, not a fairseq checkpoint")
    model = state.get("model")
    if not isinstance(model, Mapping) or (state.get("args") is None and state.get("cfg") is None):
        raise CheckpointError(shown, f"not a fairseq checkpoint; it holds: {listing(state)}")


@dataclass(frozen=True)
class Finetuned:
    """A finetuned CTC model, ready to decode.

    Attributes:
        model: in evaluation mode, on the CPU.
        dictionary: fairseq's Dictionary of the labels; the blank is symbol 0.
        labels: kind of labels, such as ``ltr``.
        normalize: whether audio is to have zero mean and unit variance.
        sample_rate: in Hz.
    """

    model: nn.Module
    dictionary: Dictionary
    labels: str
    normalize: bool
    sample_rate: int


def load_finetuned(path: str | Path) -> Finetuned:
    """Load a finetuned checkpoint for decoding. The pretrained file is not needed, nothing is pruned.

    Raises:
        CheckpointError: the file cannot be read, or holds no CTC model.
    """
    from fairseq import checkpoint_utils

    load_plugin()
    try:
        (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(path)])
    except OneLineExit as stop:
        raise stop.error from None
    except (FileNotFoundError, OSError) as error:
        raise CheckpointError(absolute(path), str(error)) from None
    if getattr(task.cfg, "labels", None) is None:
        raise CheckpointError(absolute(path), f"holds {cfg.model._name}, which was not finetuned on labels")
    model.eval()
    return Finetuned(model, task.target_dictionary, task.cfg.labels, bool(task.cfg.normalize), task.cfg.sample_rate)
