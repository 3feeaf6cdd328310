"""Builds a freshly initialised model of a checkpoint's shape, from which the baseline RP takes its mask."""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_parp.compat.encoders import HUBERT, forget_labels, name_of, register_encoder
from fairseq_parp.compat.no_eval import building
from fairseq_parp.errors import ScopeError


def encoder_config(state: Mapping[str, Any]) -> Any:
    """Return the config of the pretrained encoder in a checkpoint: its own, or the one that a finetuned one embeds."""
    cfg = config_of(state)
    embedded = getattr(cfg.model, "w2v_args", None)  # get() raises where omegaconf 2.0 knows the keys
    return cfg if embedded is None else embedded


def config_of(state: Mapping[str, Any]) -> Any:
    """Return the config of a checkpoint, old (``args``) or new (``cfg``) style."""
    cfg = state.get("cfg")
    return convert_namespace_to_omegaconf(state["args"]) if cfg is None else OmegaConf.create(cfg)


def fresh_weights(encoder: Any, names: Iterable[str], seed: int) -> dict[str, Tensor]:
    """Build the pretrained encoder anew, with fairseq's own initialiser, and return its weights.

    Args:
        encoder: config with ``model`` and ``task``, as :func:`encoder_config` returns it or ``model.w2v_args`` is.
        names: names of the requested parameters, as in the encoder or with a prefix.
        seed: seed of the initialisation; torch's global state does not change.

    Raises:
        MissingToolError: the class of the encoder is not installed.
        ScopeError: one of the names is not of the encoder: its initialisation is unknown.
    """
    if isinstance(encoder, Namespace):
        encoder = convert_namespace_to_omegaconf(encoder)
    encoder = copy.deepcopy(encoder)
    register_encoder(name_of(encoder))
    if name_of(encoder) == HUBERT:
        forget_labels(encoder)
    with building(), torch.random.fork_rng(devices=[]):
        task = tasks.setup_task(encoder.task, from_checkpoint=True)
        torch.manual_seed(seed)
        model = task.build_model(encoder.model, from_checkpoint=True)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    return {name: weights[_own(name, weights)] for name in names}


def _own(name: str, weights: Mapping[str, Tensor]) -> str:
    """Return the encoder's name for ``name``: its longest ending that the encoder knows."""
    parts = name.split(".")
    endings = (".".join(parts[start:]) for start in range(len(parts)))
    found = next((ending for ending in endings if ending in weights), None)
    if found is None:
        raise ScopeError(f"{name} is not part of the pretrained encoder: there is no fresh weight to take a mask from")
    return found
