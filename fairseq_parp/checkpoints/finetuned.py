"""Completes the entries of finetuned checkpoints of other fairseqs and tasks, so that their model can be built."""

from __future__ import annotations

import contextlib
import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf, open_dict

from fairseq_parp.checkpoints.fitting import kind_of
from fairseq_parp.checkpoints.known_keys import keep_known
from fairseq_parp.errors import CheckpointError, ManifestError, absolute, unknown_key
from fairseq_parp.kinds import unreadable

CTC_HEAD = ("w2v_encoder.proj.weight", "w2v_encoder.proj.bias")
POOLED_HEAD = "pooling_layer.projection.weight"
OUTPUT_LAYERS = (*CTC_HEAD, POOLED_HEAD)
HEADS = ("w2v_encoder.proj.", "pooling_layer.", "classification_heads.")
"""What the names of a finetuning's own tensors begin with: of CTC, of labels of utterances, of labels of texts."""


def task_of(state: Mapping[str, Any]) -> str:
    """Return the name of the task that a checkpoint was trained by; "" where it names none."""
    args, cfg = state.get("args"), state.get("cfg")
    if args is not None:
        return str(getattr(args, "task", "") or getattr(args, "_name", ""))
    return str(((cfg or {}).get("task") or {}).get("_name") or "")


def dictionary_in(state: Mapping[str, Any]) -> Any:
    """Return the dictionary of the labels that a checkpoint holds; None without one, and for any other object."""
    found = (state.get("task_state") or {}).get("target_dictionary")
    return found if hasattr(found, "symbols") else None


def supply_history(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with the parts that fairseq reads from each and that a file of weights and config lacks."""
    if not state.get("optimizer_history"):
        nothing = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {"best": None}, "num_updates": 0}
        state["optimizer_history"] = [nothing]
        state.setdefault("last_optimizer_state", None)
    state["extra_state"] = state.get("extra_state") or {}
    return state


def require_described(cfg: Any, path: str | Path) -> None:
    """Check that a config names a model and a task.

    Args:
        cfg: config that fairseq made of the checkpoint's content.
        path: path of the checkpoint, for messages.

    Raises:
        CheckpointError: it does not.
    """
    if not _describes(cfg):
        raise CheckpointError(absolute(path), "its config does not name a model and a task (model._name, task._name)")


def _describes(cfg: Any) -> bool:
    """Return whether a config names a model and a task, under the keys of today or of before hydra."""
    model, task = getattr(cfg, "model", None), getattr(cfg, "task", None)
    names = getattr(model, "_name", getattr(model, "arch", None)), getattr(task, "_name", getattr(task, "task", None))
    return all(isinstance(name, str) for name in names)


def require_known(cfg: Any, path: str | Path) -> None:
    """Check that fairseq knows the model and the task that a checkpoint names.

    Raises:
        CheckpointError: one of them is of code that is not imported.
    """
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.tasks import TASK_REGISTRY

    for key, known in (("model", {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}), ("task", TASK_REGISTRY)):
        name = cfg[key].get("_name") if hasattr(cfg[key], "get") else None
        if name is not None and name not in known:
            reason = f"its {key} {name!r} is not registered here; fairseq's own class may load it: --override"
            raise CheckpointError(absolute(path), f"{reason} {key}._name=NAME")


def complete(
    state: dict[str, Any], path: str | Path, dictionary: str | Path | None, overrides: Mapping[str, str]
) -> None:
    """Add to a loaded checkpoint the entries that decoding needs and the checkpoint lacks.

    Args:
        state: result of fairseq's ``load_checkpoint_to_cpu``; changed in place.
        path: path of the checkpoint, for messages.
        dictionary: a ``dict.ltr.txt`` that takes the place of the checkpoint's.
        overrides: values by key, such as ``model.w2v_path``: text, numbers, ``true``, ``false`` or ``null``.

    Raises:
        CheckpointError: the dictionary or the pretrained model's config is missing, or the dictionary is another
            model's.
        ConfigError: an override of no key of the checkpoint's.
        ManifestError: the dictionary cannot be read.
    """
    cfg = state["cfg"]
    state["args"] = None  # fairseq would convert it again, without the following changes
    if "labels" not in cfg.task:
        with open_dict(cfg):
            cfg.task.labels = None
    for key, value in overrides.items():
        override(cfg, key, value)
    if cfg.task._name == "audio_pretraining" and cfg.task.get("labels"):
        # Until 2021 one task did both. It has no dictionary of labels any more.
        cfg.task._name = "audio_finetuning"
    if cfg.task._name == "hubert_pretraining" and cfg.task.get("fine_tuning"):
        cfg.task._name, cfg.task.labels = "audio_finetuning", kind_of(cfg.task.labels)
    if not cfg.task.get("labels") and OUTPUT_LAYERS[0] in state["model"]:
        reason = "does not name its labels (task.labels), such as ltr for letters: --override task.labels=ltr"
        raise CheckpointError(absolute(path), reason)
    require_known(cfg, path)
    if dictionary is not None:
        state["task_state"] = {**(state.get("task_state") or {}), "target_dictionary": _read(dictionary)}
    if cfg.task.get("labels"):
        found = dictionary_in(state)
        if found is None:
            raise CheckpointError(
                absolute(path), "holds no dictionary; name the one it was finetuned with: --dictionary dict.ltr.txt"
            )
        require_outputs(state, path, found, absolute(dictionary) if dictionary else "its dictionary")
        require_encoder(cfg.model, path, "--override model.w2v_path=FILE")
    keep_known(cfg.task)


def require_outputs(state: Mapping[str, Any], path: str | Path, dictionary: Any, name: str) -> None:
    """Check that a dictionary has as many symbols as the model's output layer.

    Raises:
        CheckpointError: it has another number.
    """
    for key in OUTPUT_LAYERS:
        weight = state["model"].get(key)
        if weight is not None and len(weight) != len(dictionary):
            reason = f"was finetuned on {len(weight)} symbols, fairseq's own included; {name} has {len(dictionary)}"
            raise CheckpointError(absolute(path), reason)


def require_encoder(model_cfg: Any, path: str | Path, way_out: str) -> None:
    """Check that the pretrained model can be built: from the checkpoint's own config, or from the pretrained file.

    Raises:
        CheckpointError: the checkpoint holds no config of it, and the file is not there.
    """
    if "w2v_path" not in model_cfg.keys():  # noqa: SIM118 (not the missing)
        return
    inner = model_cfg.get("w2v_args")
    if isinstance(inner, Namespace) or _describes(inner):
        return
    if inner is not None:
        reason = (
            "its model.w2v_args is not the config of a pretrained model; set it to null, and name the pretrained file"
        )
        raise CheckpointError(absolute(path), f"{reason}: {way_out}")
    file = None if OmegaConf.is_missing(model_cfg, "w2v_path") else model_cfg.w2v_path
    if not file or not Path(file).is_file():
        reason = f"holds no config of its pretrained model (model.w2v_args), and {file} does not exist"
        raise CheckpointError(absolute(path), f"{reason}; name the pretrained file: {way_out}")


def override(cfg: Any, key: str, value: str) -> None:
    """Set a key of a checkpoint's config that is there, such as ``model.w2v_path``, to a value given as text.

    Raises:
        ConfigError: there is no such key.
    """
    *parents, last = key.split(".")
    place = cfg
    for parent in parents:
        place = place.get(parent) if hasattr(place, "get") else None
    if not hasattr(place, "keys") or last not in place:
        known = sorted(f"{group}.{name}" for group in ("model", "task") for name in cfg[group])
        raise unknown_key(key, value, key, known)
    with open_dict(cfg):
        place[last] = value
        with contextlib.suppress(json.JSONDecodeError):
            place[last] = json.loads(value)


def _read(dictionary: str | Path) -> Any:
    from fairseq.data import Dictionary

    try:
        return Dictionary.load(str(dictionary))
    except Exception as error:  # fairseq raises a plain one where a file is not UTF-8
        reason = unreadable(dictionary, error) if isinstance(error, (OSError, UnicodeError)) else error
        raise ManifestError([f"{absolute(dictionary)}: {reason}"]) from None
