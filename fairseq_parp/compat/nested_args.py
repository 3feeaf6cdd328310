"""Checkpoints that were finetuned before fairseq had hydra are loaded.

Concerns: fairseq 0.12.2, fairseq-fixed 0.12.3.1 and main of 2025-09. Their ``args`` Namespace holds the pretrained
model's as ``w2v_args``, a Namespace, too. ``convert_namespace_to_omegaconf`` makes the inner one an override of
hydra's, as text, which no key takes. Here each is converted by itself.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from typing import Any


def install() -> None:
    """Wrap ``convert_namespace_to_omegaconf`` as ``checkpoint_utils`` sees it."""
    from fairseq import checkpoint_utils
    from omegaconf import OmegaConf, open_dict

    original = checkpoint_utils.convert_namespace_to_omegaconf
    if hasattr(original, "mended_by_parp"):
        return

    @functools.wraps(original)
    def convert_namespace_to_omegaconf(args: Namespace) -> Any:
        inner = getattr(args, "w2v_args", None)
        if not isinstance(inner, Namespace):
            return original(args)
        cfg = original(Namespace(**{**vars(args), "w2v_args": None}))
        with open_dict(cfg):
            cfg.model.w2v_args = OmegaConf.to_container(original(inner))
        return cfg

    convert_namespace_to_omegaconf.mended_by_parp = True  # type: ignore[attr-defined]
    checkpoint_utils.convert_namespace_to_omegaconf = convert_namespace_to_omegaconf
