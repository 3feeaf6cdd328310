"""Tiny pretrained encoders beside wav2vec 2.0: fairseq's own classes, random weights, saved as fairseq saves them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import tiny
import torch

CTC = {"wav2vec2": "parp_wav2vec_ctc", "hubert": "parp_hubert_ctc", "data2vec_audio": "parp_wav2vec_ctc"}
"""The plugin's model of each family, by fairseq's name of the pretrained one."""

BESIDE_WAV2VEC2 = ("hubert", "data2vec_audio")


def make(name: str, path: Path, **more: Any) -> Path:
    """Write a pretrained encoder; ``more`` are keys of its config."""
    keys = {key: value for key, value in tiny.MODEL.items() if key != "_name"} | more
    torch.manual_seed(5)
    model, cfg, task, task_state = {"hubert": _hubert, "data2vec_audio": _data2vec_audio}[name](keys)
    state = {
        "args": None,
        "cfg": {"model": cfg | {"_name": name}, "task": task, "criterion": None, "lr_scheduler": None},
        "model": model.state_dict(),
        "task_state": task_state,
        "extra_state": {},
        "optimizer_history": [tiny._HISTORY],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


def _hubert(keys: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    from fairseq.data import Dictionary
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    clusters = Dictionary()
    for cluster in range(7):
        clusters.add_symbol(str(cluster))
    own = {key: value for key, value in keys.items() if key not in ("quantize_targets", "latent_vars")}
    cfg = OmegaConf.merge(OmegaConf.structured(HubertConfig), own, {"label_rate": 50.0})
    task = HubertPretrainingConfig(data="/nowhere", labels=["km"], label_dir="/nowhere/labels", label_rate=50.0)
    model = HubertModel(cfg, task, [clusters])
    plain: Any = OmegaConf.to_container(OmegaConf.structured(task), enum_to_str=True)
    plain_cfg: Any = OmegaConf.to_container(cfg, enum_to_str=True)
    return model, plain_cfg, plain | {"_name": "hubert_pretraining"}, {"dictionaries": [clusters]}


def _data2vec_audio(keys: dict[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any], dict[str, Any]]:
    from omegaconf import OmegaConf

    found = importlib.import_module("fairseq.examples.data2vec.models.data2vec_audio")
    own = {key: value for key, value in keys.items() if key not in ("quantize_targets", "latent_vars")}
    own |= {"max_update": 10, "ema_anneal_end_step": 10, "average_top_k_layers": 2, "conv_pos": 8, "pos_conv_depth": 2}
    cfg = OmegaConf.merge(OmegaConf.structured(found.Data2VecAudioConfig), own)
    task = {"_name": "audio_pretraining", "data": "/nowhere", "normalize": False, "labels": None, "sample_rate": 16000}
    model = found.Data2VecAudioModel(cfg)
    model.set_num_updates(0)  # makes the teacher, whose weights a released file has as well
    plain_cfg: Any = OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)
    return model, plain_cfg, task, {}
