"""Scores that training learns, one a weight: their initial values and their gradient (S3-Router, Fu et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import kernels

KEY = "task.pruning.init_score"


def drawn(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw fp32 scores of the weight's shape ``(out, in)``, uniform in +-in^-1/2."""
    bound = weight.shape[1] ** -0.5
    return torch.empty(weight.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)


def ranked_as(weight: Tensor, draw: Tensor) -> Tensor:
    """Return the values of ``draw``, ordered so that their magnitudes rank as those of ``weight``; ties by position."""
    by_weight = weight.detach().abs().flatten().argsort(stable=True)
    values = draw.flatten()
    values = values[values.abs().argsort(stable=True)]
    return torch.empty_like(values).scatter_(0, by_weight.to(values.device), values).view(weight.shape)


def _weight_rank(weight: Tensor, generator: torch.Generator) -> Tensor:
    return ranked_as(weight, drawn(weight, generator)).to(weight.device)


def _weight_magnitude(weight: Tensor, _generator: torch.Generator) -> Tensor:
    return weight.detach().float().clone()


def _random(weight: Tensor, generator: torch.Generator) -> Tensor:
    return drawn(weight, generator).to(weight.device)


STARTS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "weight_rank": _weight_rank,
    "weight_magnitude": _weight_magnitude,
    "random": _random,
}

# Starts of the released code from which scores cannot move, and why.
_DEAD = {
    "zero": "its scores are all 0, and the gradient of a score of 0 is 0: no mask would ever change",
    "negative_weight_magnitude": "its scores are 0 or 1, and the gradient of a score of 0 is 0: those could never move",
}


def start_of(name: str) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Return the function from a weight and a generator (CPU) to fp32 scores.

    Raises:
        ConfigError: there is no such start, or its scores cannot move.
    """
    allowed = ", ".join(STARTS)
    if name in _DEAD:
        raise ConfigError(KEY, name, f"cannot train: {_DEAD[name]}; use one of {allowed}")
    if name not in STARTS:
        raise ConfigError(KEY, name, f"must be one of {allowed}")
    return STARTS[name]


def score_gradient(gradient: Tensor, weight: Tensor, scores: Tensor) -> Tensor:
    """Return the straight-through gradient of the scores, for kept and dropped weights alike.

    Args:
        gradient: gradient of the masked weight.
        weight: the frozen dense weight.
        scores: the scores, of the gradient's shape; a score of 0 gets the gradient 0.
    """
    return kernels.choose([gradient, weight, scores]).score_gradient(gradient, weight, scores)
