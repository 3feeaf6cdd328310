"""Pretrained encoders beside wav2vec 2.0 are built: HuBERT, and those whose class lies in fairseq's examples.

Concerns: fairseq-fixed 0.12.3.1 and main of 2025-09; 0.12.2 except as noted.

- ``hubert_ctc`` reads ``autoregressive`` from a config that lacks the key (not 0.12.2). It is added, as false.
- A finetuned HuBERT builds its encoder with the label dictionaries of the pretraining, which it looks for on disk.
  They determine the size of one tensor, ``label_embs_concat``, that is not read after the pretraining. Here the
  embedded config names no labels, and the tensor has no rows; stock fairseq then builds the same model.
- 0.12.2 refuses a pretrained model whose task's config has keys of a later fairseq. They are left out.
- ``data2vec_audio`` is registered only once its module in ``fairseq.examples`` is imported.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Mapping
from typing import Any

import torch

from fairseq_parp.architectures import ARCHITECTURES, Family, encoder_config
from fairseq_parp.checkpoints.known_keys import keep_known
from fairseq_parp.errors import CheckpointError, MissingToolError, absolute

HUBERT = "hubert"
LABEL_EMBEDDINGS = "w2v_encoder.w2v_model.label_embs_concat"


def install() -> None:
    """Give ``hubert_ctc`` the key that it reads."""
    from fairseq.models.hubert.hubert_asr import HubertEncoder
    from omegaconf import open_dict

    original = HubertEncoder.__init__
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def __init__(self: Any, cfg: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 (it takes that method's place)
        if "autoregressive" not in cfg:
            with open_dict(cfg):
                cfg.autoregressive = False
        original(self, cfg, *args, **kwargs)

    __init__.mended_by_parp = True  # type: ignore[attr-defined]
    HubertEncoder.__init__ = __init__


def name_of(cfg: Any) -> str | None:
    """Return fairseq's name of the model that a config (of groups) describes, or None."""
    return getattr(getattr(cfg, "model", None), "_name", None)


def family_named(name: str | None) -> Family | None:
    """Return the family of a pretrained model by fairseq's name of it; None for one that is not in the table."""
    return next((family for family in ARCHITECTURES.values() if name in family.models), None)


def make_buildable(state: Mapping[str, Any]) -> None:
    """Let fairseq build the encoder of a checkpoint, and let a finetuned HuBERT do without its pretraining's labels.

    Args:
        state: result of fairseq's ``load_checkpoint_to_cpu``; changed in place.

    Raises:
        MissingToolError: fairseq's examples, which have the encoder's class, are not installed.
    """
    cfg = state.get("cfg")
    embedded = None if cfg is None else encoder_config(cfg.model)
    pretrained: Any = cfg if embedded is None else embedded
    register_encoder(name_of(pretrained))
    if hasattr(getattr(pretrained, "task", None), "keys") and "w2v_path" not in pretrained.model:
        keep_known(pretrained.task)
    if embedded is not None and name_of(embedded) == HUBERT:
        forget_labels(embedded)
        state["model"][LABEL_EMBEDDINGS] = torch.empty(0, label_width(embedded))


def label_width(encoder: Any) -> int:
    """Return the width of a HuBERT's embeddings of its pretraining's labels."""
    return int(encoder.model.get("final_dim") or encoder.model.encoder_embed_dim)


def forget_labels(encoder: Any) -> None:
    """Let the config of a HuBERT name no labels, so that no dictionary is looked for."""
    from omegaconf import open_dict

    with open_dict(encoder):
        encoder.task.labels = []


def register_encoder(name: str | None) -> None:
    """Import the module of an encoder that fairseq does not import itself.

    Raises:
        MissingToolError: it is not installed.
    """
    from fairseq.models import MODEL_REGISTRY

    family = family_named(name)
    if family is None or family.imports is None or family.ctc_model is None or name in MODEL_REGISTRY:
        return
    try:
        importlib.import_module(family.imports)
    except ImportError as error:
        way_out = "fairseq-fixed has it, and a checkout of fairseq (pip install -e)"
        raise MissingToolError(f"the encoder {name} needs {family.imports}: {error}; {way_out}") from None


def require_pretrained(path: str, state: Mapping[str, Any], model: str) -> None:
    """Check that a checkpoint is a pretrained encoder which a CTC model of the plugin takes.

    Args:
        path: path of the checkpoint, for messages.
        state: result of fairseq's ``load_checkpoint_to_cpu``.
        model: the ``_name`` of the CTC model.

    Raises:
        CheckpointError: it is finetuned, or of a family that this model, or no model of the plugin, takes.
    """
    cfg = state.get("cfg")
    name = name_of(cfg)
    if cfg is not None and "w2v_path" in cfg.model:
        reason = (
            "is finetuned already, model.w2v_path takes a pretrained one; to go on from its weights: "
            "checkpoint.finetune_from_model=FILE, and the pretrained one as model.w2v_path"
        )
        raise CheckpointError(absolute(path), reason)
    family = family_named(name)
    wanted = None if family is None else family.ctc_model
    if wanted == model or (family is None and _is_the_users(name)):
        return
    if wanted is None:
        known = dict.fromkeys(each for one in ARCHITECTURES.values() if one.ctc_model for each in one.models)
        reason = f"its model {name!r} is not an encoder that can be finetuned with CTC here; {', '.join(known)} can"
        raise CheckpointError(absolute(path), reason)
    raise CheckpointError(absolute(path), f"its encoder is {name!r}, which {model} does not take; model._name={wanted}")


def _is_the_users(name: str | None) -> bool:
    """Return whether another user dir registered the encoder: it is built then as fairseq builds it."""
    from fairseq.models import MODEL_REGISTRY

    with contextlib.suppress(KeyError, AttributeError):
        return not MODEL_REGISTRY[name].__module__.startswith("fairseq.")
    return False
