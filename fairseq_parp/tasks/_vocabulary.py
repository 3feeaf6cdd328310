"""The labels and the dictionary: of the data in training, of the checkpoint in decoding."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from fairseq_parp import checkpoints
from fairseq_parp.errors import ConfigError, ManifestError, absolute


def dictionary_of_checkpoint(path: str) -> Any:
    """Return the dictionary that a finetuned checkpoint was trained with; of several paths, the first one's."""
    return _first_state(path)["task_state"]["target_dictionary"]


def _first_state(path: str) -> dict[str, Any]:
    return checkpoints.read(path.split(":")[0])


def labels_of_checkpoint(path: str) -> str:
    """Return the kind of labels that a checkpoint was finetuned on.

    Raises:
        ConfigError: it does not say.
    """
    state = _first_state(path)
    cfg = state["args"] if state.get("args") is not None else state["cfg"]["task"]
    labels = getattr(cfg, "labels", None) if isinstance(cfg, (Namespace, DictConfig)) else cfg.get("labels")
    if not labels:
        raise ConfigError("labels", labels, f"{absolute(path)} names no labels; give --labels")
    return str(labels)


def read_dictionary(read: Callable[[], Any], folder: str, labels: str | None) -> Any:
    """Return what ``read`` reads from the data folder.

    Raises:
        ManifestError: the dictionary is not there or cannot be used.
    """
    try:
        return read()
    except (OSError, ValueError, RuntimeError) as error:
        raise ManifestError([f"{absolute(folder)}/dict.{labels}.txt: {error}"]) from None
