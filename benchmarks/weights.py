"""The weights for the measurements of re-pruning: the prunable tensors of a wav2vec 2.0, in four states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Size:
    """A Transformer encoder's size: layers, and the width of the model (its feed-forward part is 4 times as wide)."""

    layers: int
    width: int

    def shapes(self) -> Iterator[tuple[int, ...]]:
        """Yield the shapes of the prunable tensors, 12 a layer."""
        width = self.width
        for _ in range(self.layers):
            for rows, columns in [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]:
                yield (rows, columns)
                yield (rows,)


BASE = Size(12, 768)
LARGE = Size(24, 1024)


def fresh(size: Size) -> Weights:
    """Return random normal weights of the scale that trained ones have."""
    torch.manual_seed(1)
    return {f"w{number}": 0.02 * torch.randn(shape) for number, shape in enumerate(size.shapes())}


def stepped(size: Size) -> Weights:
    """Return weights that were pruned to half and then moved by one step of Adam: half of them by the same amount."""
    weights = fresh(size)
    session_of(weights).prune(0)
    parameters = [torch.nn.Parameter(weight) for weight in weights.values()]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    torch.optim.Adam(parameters, lr=1e-4).step()
    return weights


def half_zeros(size: Size) -> Weights:
    """Return weights of which each is zero with probability a half."""
    return {name: weight.mul_(torch.rand_like(weight) < 0.5) for name, weight in fresh(size).items()}


def ties(size: Size) -> Weights:
    """Return weights that were rounded to fp16: tens of thousands have the magnitude at the cut."""
    return {name: weight.half().float() for name, weight in fresh(size).items()}


STATES: dict[str, Callable[[Size], Weights]] = {
    "fresh": fresh,
    "pruned, then a step": stepped,
    "half zeros": half_zeros,
    "fp16-valued": ties,
}


def session_of(weights: Mapping[str, Tensor], sparsity: float = 0.5) -> PruningSession:
    """Return a session that zeroes so much of ``weights`` in place."""
    parameters = {name: PrunedParameter(weight) for name, weight in weights.items()}
    return PruningSession(parameters, read_config(sparsity=sparsity))
