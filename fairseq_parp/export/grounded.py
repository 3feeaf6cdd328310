"""The plain wav2vec 2.0 of a grounded checkpoint, for stock fairseq, ``parp_finetuning`` and transformers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from fairseq_parp.compat.no_eval import building
from fairseq_parp.errors import CheckpointError, absolute

logger = logging.getLogger(__name__)

GROUNDED, _WRITTEN = "grounded_wav2vec2", "grounded_text"
_PARTS = ("grounded.", "encoder.cls")


def is_grounded(state: Mapping[str, Any], path: str | Path) -> bool:
    """Return whether a checkpoint holds a grounded model.

    Raises:
        CheckpointError: it holds one of written captions.
    """
    name = None if state.get("cfg") is None else state["cfg"]["model"].get("_name")
    if name == _WRITTEN:
        raise CheckpointError(absolute(path), f"holds the model {name}, which has no encoder of speech to export")
    return bool(name == GROUNDED)


def plain_encoder(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checkpoint of the plain encoder; its tensors are the same.

    A model that only pictures have trained has the layers below the tap. It lacks the tensors that only wav2vec 2.0's
    loss uses; these become random (seed 1), so that every loader finds a complete file.
    """
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from fairseq.tasks.audio_pretraining import AudioPretrainingConfig

    cfg: Any = OmegaConf.to_container(OmegaConf.create(state["cfg"]), resolve=True, enum_to_str=True)
    model = {key: value for key, value in cfg["model"].items() if key in Wav2Vec2Config.__dataclass_fields__}
    if "final_proj.weight" not in state["model"]:  # built without the layers that wav2vec 2.0's own loss alone trains
        model["encoder_layers"] = cfg["model"]["shared_layers"]
    task = {key: value for key, value in cfg["task"].items() if key in AudioPretrainingConfig.__dataclass_fields__}
    kept = {name: value for name, value in state["model"].items() if not name.startswith(_PARTS)}
    with building(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        whole = Wav2Vec2Model(OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), model)).state_dict()
    random = {name: value for name, value in whole.items() if name not in kept}
    if random:
        logger.warning(f"at random, as pictures alone trained this model: {sorted({n.split('.')[0] for n in random})}")
    config = {
        **cfg,
        "model": {**model, "_name": "wav2vec2"},
        "task": {**task, "_name": "audio_pretraining", "enable_padding": True},
        "criterion": {"_name": "wav2vec", "infonce": True, "loss_weights": [0.1, 0.0], "log_keys": []},
        "common": {**cfg["common"], "user_dir": None},
    }
    return {**state, "cfg": config, "model": kept | random}
