"""The labels and the dictionary: of the data in training, of the checkpoint in decoding."""

from __future__ import annotations

import logging
import pickle
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fairseq_parp import checkpoints
from fairseq_parp.checkpoints.finetuned import dictionary_in, require_outputs
from fairseq_parp.checkpoints.fitting import SETTINGS, Trained, kind_of, require_alike
from fairseq_parp.checkpoints.pickles import DICTIONARY_LIMIT
from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing
from fairseq_parp.kinds import unreadable
from fairseq_parp.manifests.checking import kinds_in

logger = logging.getLogger(__name__)


def dictionary_of_checkpoint(path: str, read: Callable[[], Any]) -> Any:
    """Return the dictionary that a finetuned checkpoint was trained with; of several paths, the first one's.

    Args:
        path: path of the checkpoint.
        read: returns the dictionary of the data, for a checkpoint without one.

    Raises:
        CheckpointError: the checkpoint has no dictionary, and that of the data has another number of symbols.
        ManifestError: neither the checkpoint nor the data folder has a dictionary.
    """
    state, first = _first_state(path), path.split(":")[0]
    found = dictionary_in(state)
    if found is None:
        found = read()
        require_outputs(state, first, found, "the data's dictionary")
        logger.warning(f"{absolute(first)} holds no dictionary; the data's is used, whose order could not be compared")
    return found


def _first_state(path: str) -> dict[str, Any]:
    return checkpoints.read(path.split(":")[0])


def labels_of_checkpoint(path: str) -> str:
    """Return the kind of labels that a checkpoint was finetuned on.

    Raises:
        ConfigError: it names no labels.
    """
    state = _first_state(path)
    cfg = state["args"] if state.get("args") is not None else state["cfg"]["task"]
    labels = kind_of(getattr(cfg, "labels", None) if isinstance(cfg, (Namespace, DictConfig)) else cfg.get("labels"))
    if not labels:
        raise ConfigError("labels", labels, f"{absolute(path)} names none; it is not finetuned, or --labels names them")
    return str(labels)


def require_trained_alike(cfg: Any, dictionary: Any, path: str, state: Mapping[str, Any]) -> None:
    """Compare the labels and the audio settings of a training with those of the checkpoint that it starts from.

    Raises:
        ConfigError, DictionaryError: they differ.
    """
    saved = Trained.of(state)
    if saved.symbols is None:
        logger.warning(f"{absolute(path)} has no dictionary, so that the order of its labels could not be compared")
    folder = getattr(cfg, "target_dictionary", None) or cfg.data
    way_out = (
        f"a data folder keeps the old one with --dictionary {absolute(path)} (fairseq-parp manifest table --help), "
        "or start from a model that was not finetuned"
    )
    asked = Trained(list(dictionary.symbols), {key: getattr(cfg, key) for key in SETTINGS})
    require_alike(asked, f"{absolute(folder)}/dict.{cfg.labels}.txt", saved, path, way_out)


def read_dictionary(read: Callable[[], Any], folder: str, labels: str | None) -> Any:
    """Return the dictionary that ``read`` reads from the data folder.

    Raises:
        ManifestError: the dictionary is missing, cannot be used, or is too large for a checkpoint.
    """
    file = f"{absolute(folder)}/dict.{labels}.txt"
    try:
        dictionary = read()
    except (OSError, ValueError, RuntimeError) as error:
        there = kinds_in(Path(folder))
        others = (
            f"; the folder has labels {listing(there)}: task.labels names one" if there and labels not in there else ""
        )
        reason = unreadable(file, error) if isinstance(error, (OSError, UnicodeError)) else error
        raise ManifestError([f"{file}: {reason}{others}"]) from None
    size = len(pickle.dumps(dictionary, protocol=2))  # as torch.save writes it
    if size > DICTIONARY_LIMIT:
        allowed = f"{DICTIONARY_LIMIT:,} of the {size:,} bytes that it takes in a checkpoint are read again"
        raise ManifestError([f"{file}: {len(dictionary):,} symbols are too many; only {allowed}"])
    return dictionary
