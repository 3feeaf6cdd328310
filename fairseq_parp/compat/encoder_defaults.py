"""A finetuning's dropout, layerdrop, masking and frozen convolutions reach an encoder whose config does not name them.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. A finetuning writes such keys into the config of
its pretrained file, but ``overwrite_args_by_name`` writes only keys that are there already. The others are dropped
silently, and the encoder is built with fairseq's defaults: dropout 0.1, no layerdrop, convolutions that train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.compat.encoders import family_named, register_encoder


def supply_defaults(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint in whose config a pretrained encoder names all its keys; any other one as it is."""
    cfg = state.get("cfg")
    model = cfg.get("model") if isinstance(cfg, Mapping) else None
    if isinstance(cfg, Mapping) and isinstance(model, Mapping) and family_named(model.get("_name")) is not None:
        state["cfg"] = {**cfg, "model": with_defaults(model)}
    return state


def with_defaults(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an encoder with fairseq's default for each key that it lacks.

    A key whose default is another group's value stays away; fairseq looks it up when it builds the model.

    Raises:
        MissingToolError: fairseq's examples, which have the encoder's class, are not installed.
    """
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    name = model["_name"]
    register_encoder(name)
    if name not in MODEL_DATACLASS_REGISTRY:
        return dict(model)
    structured = OmegaConf.structured(MODEL_DATACLASS_REGISTRY[name])
    defaults: Any = OmegaConf.to_container(structured, resolve=False, enum_to_str=True)
    fixed = {key: value for key, value in defaults.items() if not str(value).startswith(("${", "???"))}
    return {**fixed, **model}
