"""Rows: a re-prune to half of the weights, through the session that trainings use.

The time includes the search for NaN and infinity, the mask's bits and the churn. The weights are restored, untimed,
before every run. A prune uses no state of the previous one, so "warm" (the last threshold known) is the same run as
"cold", compared with its own bar.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn.utils import prune

from benchmarks.cost import typical
from benchmarks.memory import transient_bytes
from benchmarks.rows import Bar, Job, Row, compare, compare_bytes, in_turn
from benchmarks.weights import BASE, LARGE, STATES, Size, Weights, fresh, session_of
from fairseq_parp.sparsity import kernels
from fairseq_parp.sparsity.kernels.arrays import Arrays
from fairseq_parp.sparsity.kernels.tensors import Tensors

COPY = "Tensor.copy_ of the same tensors"
FALLBACKS: dict[str, tuple[float, Callable[[], kernels.Kernel]]] = {
    "numpy": (6.0, lambda: Arrays(torch.float32)),
    "torch": (45.0, lambda: Tensors(wide=False, cpu=True)),
}
PEERS = {
    "global_unstructured": (150.0, "torch.nn.utils.prune.global_unstructured (L1) and prune.remove"),
    "kthvalue": (25.0, "torch.cat(...).abs().kthvalue and masking"),
}


@dataclass
class Stage:
    """Weights in one state, and buffers; ``before`` is the mask from which churn is counted."""

    weights: Weights
    live: Weights = field(init=False)
    copies: Weights = field(init=False)

    def __post_init__(self) -> None:
        self.live, self.copies = ({name: w.clone() for name, w in self.weights.items()} for _ in range(2))
        self.session = session_of(self.live)
        self.session.prune(0)
        self.before = self.session.mask

    def restore(self) -> None:
        """Put back the weights and the mask."""
        for name, weight in self.live.items():
            weight.copy_(self.weights[name])
        self.session.mask = self.before

    def reprune(self) -> None:
        """Make the measured re-prune."""
        self.session.prune(1)

    def copy(self) -> None:
        """Read and write every weight once, as plainly as torch can."""
        for name, weight in self.live.items():
            self.copies[name].copy_(weight)

    def global_unstructured(self) -> list[torch.Tensor]:
        """Prune as torch's own utilities do; they make new tensors."""
        modules = [_Holder(weight) for weight in self.live.values()]
        named = [(module, "weight") for module in modules]
        prune.global_unstructured(named, pruning_method=prune.L1Unstructured, amount=0.5)
        for module, name in named:
            prune.remove(module, name)
        return [module.weight for module in modules]

    def kthvalue(self) -> list[torch.Tensor]:
        """Prune by the k-th smallest of all magnitudes laid side by side."""
        k = sum(weight.numel() for weight in self.live.values()) // 2
        cut = torch.cat([weight.view(-1) for weight in self.live.values()]).abs().kthvalue(k).values
        for weight in self.live.values():
            weight.masked_fill_(weight.abs() <= cut, 0)
        return list(self.live.values())


class _Holder(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs, those of one state after one another; ``size`` replaces both models' sizes in tests."""
    base, large = size or BASE, size or LARGE

    @functools.lru_cache(maxsize=1)  # jobs of one state come after one another
    def stage(state: str) -> Stage:
        return Stage(STATES[state](base))

    for state in STATES:
        names = [f"re-prune, {how}: {state}" for how in ("cold", "warm")]
        yield Job(names, functools.partial(_against_copy, stage, state, names))
        yield _fallback_job(stage, state, "numpy")
    name = "re-prune, transient memory"
    yield Job([name], functools.partial(_memory, stage, name))
    name = f"re-prune, {_count(large):,} weights"
    yield Job([name], functools.partial(_proportion, base, large, name))
    for state in STATES:  # the slow ones
        yield _fallback_job(stage, state, "torch")
        for peer in reversed(PEERS):
            name = f"re-prune, {peer}: {state}"
            yield Job([name], functools.partial(_against_peer, stage, state, name, peer))


def _fallback_job(stage: Callable[[str], Stage], state: str, kernel: str) -> Job:
    name = f"re-prune, only {kernel}: {state}"
    return Job([name], functools.partial(_fallback, stage, state, name, kernel))


def _against_copy(stage: Callable[[str], Stage], state: str, names: list[str]) -> Iterator[Row]:
    at = stage(state)
    bars = Bar(2.5), Bar(1.8)
    ours, peer = in_turn(at.restore, at.reprune, at.copy, bars)
    for name, bar in zip(names, bars, strict=True):
        yield compare(name, bar, COPY, ours, peer)


def _fallback(stage: Callable[[str], Stage], state: str, name: str, kernel: str) -> Iterator[Row]:
    at, (most, make) = stage(state), FALLBACKS[kernel]
    bar = Bar(most)
    with kernels.using(make()):
        yield compare(name, bar, COPY, *in_turn(at.restore, at.reprune, at.copy, [bar]))


def _against_peer(stage: Callable[[str], Stage], state: str, name: str, peer: str) -> Iterator[Row]:
    at, (least, against) = stage(state), PEERS[peer]
    bar = Bar(least, faster=True)
    row = compare(name, bar, against, *in_turn(at.restore, at.reprune, getattr(at, peer), [bar]))
    if row.holds is False:
        copies = row.peer / typical(at.restore, at.copy).cpu
        room = f"{copies:.0f} copies of the weights, so the bar leaves {copies / least:.2f} copies for a re-prune"
        row = replace(row, why=f"the peer takes as much CPU time as {room}")
    yield row


def _memory(stage: Callable[[str], Stage], name: str) -> Iterator[Row]:
    at = stage("fresh")
    weights = sum(weight.nbytes for weight in at.live.values())
    bits = sum(packed.nbytes for packed in session_bits(at))
    found = []
    for _ in range(3):
        at.restore()
        found.append(max(1, transient_bytes(at.reprune) - bits))
    yield compare_bytes(name, Bar(0.02), "the weights", found, [weights] * len(found))


def session_bits(stage: Stage) -> list[torch.Tensor]:
    """Return the bits of the stage's mask."""
    return [] if stage.before is None else list(stage.before.bits.values())


def _proportion(base: Size, large: Size, name: str) -> Iterator[Row]:
    small, big = Stage(fresh(base)), Stage(fresh(large))
    big.copies.clear()

    def both() -> None:
        small.restore()
        big.restore()

    ours, peer = in_turn(both, big.reprune, small.reprune)
    yield compare(name, Bar(1.1), f"{_count(base):,} weights, scaled", ours, peer, scale=_count(large) / _count(base))


def _count(size: Size) -> int:
    return sum(torch.Size(shape).numel() for shape in size.shapes())
