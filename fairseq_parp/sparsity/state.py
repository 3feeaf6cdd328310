"""Checks that a saved pruning state belongs to this run, and fits the weights of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from fairseq_parp.errors import MaskError, ResumeError
from fairseq_parp.safetensors_files import require_bits
from fairseq_parp.sparsity import masking
from fairseq_parp.sparsity.config import PREFIX, PruningConfig, frozen


def require_same_run(config: PruningConfig, names: Iterable[str], state: Mapping[str, Any]) -> None:
    """Compare a saved run's keys and parameters with this run's.

    Args:
        config: config of this run.
        names: names of this run's parameters.
        state: the saved state, in today's form.

    Raises:
        ResumeError: they differ.
    """
    defaults = PruningConfig()
    saved = {key: frozen(value) for key, value in state["config"].items()}
    for key, value in config.identity().items():
        was = saved.get(key, getattr(defaults, key, None))
        if was != value:
            raise ResumeError(f"{PREFIX}.{key}", was, value)
    own = set(names)
    if set(state["mask"]) != own:
        raise ResumeError(f"{PREFIX}.scope", f"{len(state['mask'])} parameters", f"{len(own)} others")


def require_fitting(weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Compare saved masks and stashed values with the weights.

    Raises:
        MaskError: a mask has another shape, or a parameter has another number of zeros than stashed values.
    """
    for name, weight in weights.items():
        require_bits("the checkpoint", name, state["mask"][name], tuple(weight.shape))
    zeros = masking.zeros(weights)
    for name, values in state["stashed"].items():
        if values.dim() != 1 or values.numel() not in (0, zeros[name]):
            raise MaskError(f"the checkpoint has {values.numel()} stashed values of {name} for {zeros[name]} zeros")
