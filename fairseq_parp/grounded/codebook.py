"""A codebook that two modalities share: nearest codes, and moving averages that training updates after a step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from fairseq_parp.errors import ConfigError

_SMOOTHING = 1e-5
"""Laplace smoothing of the counts."""

_LEAST = 1e-12
"""Floor of squared distances: the square root has no gradient at 0."""


class InFloat32(nn.Module):
    """A module whose tensors stay in float32: ``half()`` and ``bfloat16()`` move them to a device at most."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def moved(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            narrow = changed.dtype in (torch.half, torch.bfloat16)
            return tensor.to(changed.device) if narrow else changed

        return super()._apply(moved, recurse)  # type: ignore[no-untyped-call]


class Codebook(InFloat32):
    """Codes that follow the features next to them by an exponential moving average.

    All state is in buffers, so it is in the checkpoint, and neither an optimizer nor a mask reaches it. Features are
    kept by :meth:`observe`. Only :meth:`update`, which training calls after the optimizer's step, changes codes:
    a change between forward and backward pass would spoil the gradients. Before it is seeded, every code is zero.

    Args:
        codes: their number V.
        width: width of a code, D.
        decay: decay of the moving average.
        warm_up: updates before the codes are seeded with features.
        patience: updates after which a code without a feature is replaced by one.
    """

    embedding: Tensor
    counts: Tensor
    sums: Tensor
    idle: Tensor
    seeded: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99, warm_up: int = 0, patience: int = 300) -> None:
        super().__init__()
        self.decay, self.warm_up, self.patience = decay, warm_up, patience
        self.observing = False
        self._seen: dict[str, list[Tensor]] = {}
        self.register_buffer("embedding", torch.zeros(codes, width))
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))
        self.register_buffer("idle", torch.zeros(codes, dtype=torch.long))
        self.register_buffer("seeded", torch.tensor(False))

    def distances(self, features: Tensor) -> Tensor:
        """Return the Euclidean distances (..., V) of features (..., D) to the codes."""
        codes = self.embedding.to(features.dtype)
        squared = features.square().sum(-1, keepdim=True) - 2 * features @ codes.t() + codes.square().sum(-1)
        return squared.clamp_min(_LEAST).sqrt()

    def nearest(self, features: Tensor) -> Tensor:
        """Return the index (...,) of the code next to each of the features (..., D); of equals, the first."""
        return self.distances(features.detach()).argmin(-1)

    def quantise(self, features: Tensor) -> Tensor:
        """Return the codes next to features (..., D), with the features' gradient. Before the seeding: zeros."""
        codes = self.embedding[self.nearest(features)].to(features.dtype)
        return (features + (codes - features).detach()) * self.seeded

    # --- updates ------------------------------------------------------------------------------------------------------

    def observe(self, modality: str, features: Tensor) -> None:
        """Keep features (N, D) without padding for the next update. In validation, or unasked, none are kept."""
        if self.training and self.observing:
            self._seen.setdefault(modality, []).append(features.detach().float())

    def forget(self) -> None:
        """Discard the observed features: their step was not made."""
        self._seen = {}

    @torch.no_grad()
    def update(self, updates: int, seed: int) -> None:
        """Move the codes towards the features that all ranks observed; every rank calls this after its step.

        The first call after the warm-up seeds the codes with observed features, half of them of each modality.
        Choices depend on ``updates``, ``seed`` and the features alone, so a resumed run repeats them.

        Args:
            updates: number of updates made, this one included.
            seed: seed of the run.

        Raises:
            ConfigError: fewer different features than codes were observed in the update that seeds.
        """
        seen, self._seen = {name: torch.cat(parts) for name, parts in sorted(self._seen.items())}, {}
        if not self.seeded:
            if updates > self.warm_up and (pool := _of_all_ranks(seen)):
                self._seed(_mixed(pool, updates, seed), updates)
            return
        self._average(torch.cat([self.embedding[:0], *seen.values()]))
        dead = (self.idle >= self.patience).nonzero()[:, 0]
        if len(dead):
            features = _mixed(_of_all_ranks(seen), updates, seed)[: len(dead)].to(self.embedding)
            self._place(dead[: len(features)], features)

    def _seed(self, features: Tensor, updates: int) -> None:
        if len(features) < len(self.embedding):
            allowed = (
                f"update {updates} has {len(features)} different features to seed the codes from; "
                "ask for that many at most, or raise dataset.batch_size or optimization.update_freq"
            )
            raise ConfigError("model.codes", len(self.embedding), allowed)
        features = features[: len(self.embedding)].to(self.embedding)
        self._place(torch.arange(len(features), device=features.device), features)
        self.seeded.fill_(True)

    def _place(self, codes: Tensor, features: Tensor) -> None:
        self.embedding[codes] = self.sums[codes] = features
        self.counts[codes] = 1
        self.idle[codes] = 0

    def _average(self, features: Tensor) -> None:
        chosen = functional.one_hot(self.nearest(features), len(self.embedding)).to(features)
        both = torch.cat([chosen.sum(0)[:, None], chosen.t() @ features], 1)
        if _ranks() > 1:
            distributed.all_reduce(both)
        found, sums = both[:, 0], both[:, 1:]
        if not found.any():  # an update without pictures
            return
        self.counts.lerp_(found, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + _SMOOTHING) / (total + len(self.counts) * _SMOOTHING) * total
        self.embedding.copy_(self.sums / smoothed[:, None])
        self.idle.add_(1).masked_fill_(found > 0, 0)


def _ranks() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _of_all_ranks(seen: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the features of every modality, on the CPU, those of all ranks in their order."""
    mine = {name: features.cpu() for name, features in seen.items()}
    every = [mine]
    if _ranks() > 1:
        every = [mine] * _ranks()
        distributed.all_gather_object(every, mine)
    names = sorted({name for each in every for name in each})
    return {name: torch.cat([each[name] for each in every if name in each]) for name in names}


def _mixed(pool: dict[str, Tensor], updates: int, seed: int) -> Tensor:
    """Return the different features of a pool in random order, the modalities in turn."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + updates)
    different = [features.unique(dim=0) for features in pool.values()]
    shuffled = [features[torch.randperm(len(features), generator=generator)] for features in different]
    return torch.stack([row for turn in zip_longest(*shuffled) for row in turn if row is not None])
