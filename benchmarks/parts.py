"""Rows: a switch between two masks over one base, and the memory that eleven parts take beside eleven checkpoints."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.rows import Bar, Job, Row, compare, compare_bytes, in_turn
from benchmarks.weights import BASE, Size, fresh
from fairseq_parp.parts.switching import Change, Switch
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.magnitude import random_mask

LANGUAGES = 11
SYMBOLS = 32

_ROWS = ("a switch between two masks", f"memory with {LANGUAGES} masks and heads")


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the job; ``size`` replaces the model's in tests."""
    yield Job(_ROWS, functools.partial(_parts, size or BASE))


def _parts(size: Size) -> Iterator[Row]:
    model = nn.Module()
    for name, weight in fresh(size).items():
        model.register_parameter(name, nn.Parameter(weight, requires_grad=False))
    model.register_parameter("head", nn.Parameter(torch.zeros(SYMBOLS, size.width), requires_grad=False))
    model_bytes = sum(map(_bytes, model.parameters()))
    matrices = {name: each for name, each in model.named_parameters() if each.dim() > 1 and name != "head"}
    shapes = {name: tuple(each.shape) for name, each in matrices.items()}
    changes = {str(number): _change(shapes, size, number) for number in range(LANGUAGES)}
    switch = Switch(model, changes)
    turn = itertools.cycle(["0", "1"])
    copies = {name: each.detach().clone() for name, each in matrices.items()}
    targets = {name: torch.empty_like(each) for name, each in copies.items()}

    def copy() -> None:
        for name, each in copies.items():
            targets[name].copy_(each)

    times = in_turn(lambda: None, lambda: switch.to(next(turn)), copy)
    yield compare(_ROWS[0], Bar(3.0), "copying the masked weights", *times)
    own = sum(
        _bytes(each) for change in changes.values() for each in (*change.mask.bits.values(), *change.tensors.values())
    )
    taken = model_bytes + sum(map(_bytes, copies.values())) + own  # the switch keeps one copy of the masked weights
    yield compare_bytes(_ROWS[1], Bar(0.25), f"{LANGUAGES} models", [taken], [LANGUAGES * model_bytes])


def _change(shapes: dict[str, tuple[int, ...]], size: Size, seed: int) -> Change:
    mask: MaskSet = random_mask(shapes, 0.1, seed, "tensor")
    return Change(mask, {"head": torch.full((SYMBOLS, size.width), float(seed))})


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
