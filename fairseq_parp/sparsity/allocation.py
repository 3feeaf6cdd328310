"""Allocation: the division of the zeros over the tensors. Tensors of one share have one threshold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

from fairseq_parp.architectures import layer_of
from fairseq_parp.errors import ConfigError, ScopeError, listing
from fairseq_parp.registry import Registry
from fairseq_parp.sparsity.counting import exact, zero_count

KEY = "task.pruning.allocation"

_HALF = Fraction(1, 2)

Shapes = Mapping[str, tuple[int, ...]]
T = TypeVar("T")


class Share(NamedTuple):
    """Tensors that share one threshold, and their total number of zeros."""

    names: tuple[str, ...]
    zeros: int

    def of(self, named: Mapping[str, T]) -> dict[str, T]:
        """Return the entries of the share's tensors, in order."""
        return {name: named[name] for name in self.names}


Allocation = Callable[[Shapes, Fraction], list[Share]]
"""From the tensors' shapes by name and the overall sparsity to shares, in which every tensor is found once."""

ALLOCATIONS: Registry[Allocation] = Registry(KEY)


def build_allocation(asked: str | Sequence[tuple[str, float]], final: Fraction) -> Allocation:
    """Return a registered allocation, or that of a map of expressions to sparsities.

    Args:
        asked: a name, or (expression, sparsity) pairs.
        final: the sparsity at the end of the run. While the run's sparsity differs (a ramp), every sparsity of a map
            changes in proportion.

    Raises:
        ConfigError: there is no allocation of that name.
    """
    return ALLOCATIONS[asked] if isinstance(asked, str) else _mapped(asked, final)


def size_of(shape: Sequence[int]) -> int:
    """Return the number of weights of a shape."""
    size = 1
    for length in shape:
        size *= length
    return size


def _grouped(key: Callable[[str], str]) -> Allocation:
    """Return the allocation that gives every group of tensors the same sparsity."""

    def allocate(shapes: Shapes, sparsity: Fraction) -> list[Share]:
        groups: dict[str, list[str]] = {}
        for name in shapes:
            groups.setdefault(key(name), []).append(name)
        return [_share(names, shapes, sparsity) for names in groups.values()]

    return allocate


def _share(names: Sequence[str], shapes: Shapes, sparsity: Fraction) -> Share:
    return Share(tuple(names), zero_count(sparsity, sum(size_of(shapes[name]) for name in names)))


def _erdos_renyi_kernel(shapes: Shapes, sparsity: Fraction) -> list[Share]:
    """Give every tensor a density in proportion to (sum of its dimensions) / (their product), 1 at most.

    Evci et al. 2020 (RigL), section 3, after Mocanu et al. 2018. The zeros of all tensors are exactly those of the
    overall sparsity. A higher sparsity takes no zero from any tensor, so that a ramp whose zeros are held stays exact.
    """
    sizes = {name: size_of(shape) for name, shape in shapes.items()}
    kept = sum(sizes.values()) - zero_count(sparsity, sum(sizes.values()))
    raw = {name: Fraction(sum(shape), max(1, sizes[name])) for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        rest = [name for name in shapes if name not in dense]
        left = kept - sum(sizes[name] for name in dense)
        scale = Fraction(left) / max(Fraction(1), sum((raw[name] * sizes[name] for name in rest), Fraction(0)))
        full = {name for name in rest if scale * raw[name] >= 1}
        if not full:
            break
        dense |= full
    wanted = {name: Fraction(0) if name in dense else (1 - scale * raw[name]) * sizes[name] for name in shapes}
    zeros = {name: int(value + _HALF) for name, value in wanted.items()}

    def scale_of(name: str, zero: int) -> Fraction:
        """Return the scale below which a tensor has its ``zero``-th zero; it does not depend on the sparsity."""
        return (1 - (zero - _HALF) / sizes[name]) / raw[name]

    missing = sum(sizes.values()) - kept - sum(zeros.values())
    for _ in range(missing):  # max() and min() take the first of equal ones: the last zero to come is the first to go
        zeros[max((name for name in shapes if zeros[name] < sizes[name]), key=lambda n: scale_of(n, zeros[n] + 1))] += 1
    for _ in range(-missing):
        zeros[min((name for name in [*shapes][::-1] if zeros[name]), key=lambda n: scale_of(n, zeros[n]))] -= 1
    return [Share((name,), zeros[name]) for name in shapes]


def _mapped(pairs: Sequence[tuple[str, float]], final: Fraction) -> Allocation:
    """Return the allocation of a map: the tensors of one expression share a threshold and have its sparsity.

    Tensors that no expression matches share one threshold, at the run's overall sparsity.
    """

    def allocate(shapes: Shapes, sparsity: Fraction) -> list[Share]:
        owner: dict[str, str] = {}
        for expression, _ in pairs:
            found = [name for name in shapes if name == expression or re.fullmatch(expression, name)]
            if not found:
                raise ScopeError(f"{KEY}: {expression!r} matches no parameter of the scope")
            for name in found:
                if name in owner:
                    raise ScopeError(f"{KEY}: {name} is matched by both {owner[name]!r} and {expression!r}")
                owner[name] = expression
        progress = sparsity / final if final else Fraction(0)
        shares = []
        for expression, value in pairs:
            names = [name for name in shapes if owner.get(name) == expression]
            shares.append(_share(names, shapes, exact(value) * progress))
        rest = [name for name in shapes if name not in owner]
        return [*shares, _share(rest, shapes, sparsity)] if rest else shares

    return allocate


def check_allocation(asked: object, sparsity: float) -> None:
    """Check the value of ``task.pruning.allocation``.

    Args:
        asked: a name, or (expression, sparsity) pairs.
        sparsity: the run's overall sparsity.

    Raises:
        ConfigError: there is no allocation of that name; or a map has no expression, an expression of it is no regular
            expression, a sparsity of it is outside [0, 1), or is above 0 where the run's is 0.
    """
    if isinstance(asked, str) and asked in ALLOCATIONS:
        return
    pairs = asked if isinstance(asked, tuple) else ()
    if not pairs or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        allowed = f"must be one of {', '.join(sorted(ALLOCATIONS))}, or a map of expressions to sparsities"
        raise ConfigError(KEY, asked, allowed)
    for expression, value in pairs:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            allowed = "must be a number in [0, 1): a tensor has no more zeros than weights"
            raise ConfigError(f"{KEY}.{expression}", value, allowed)
        try:
            re.compile(expression)
        except re.error as error:
            raise ConfigError(f"{KEY}.{expression}", value, f"its expression is not a regular one: {error}") from None
        if value and not sparsity:
            allowed = "would never be reached: a map is reached in proportion to task.pruning.sparsity, which is 0"
            raise ConfigError(f"{KEY}.{expression}", value, allowed)


def require_whole(shares: Sequence[Share], shapes: Shapes, asked: object) -> None:
    """Check an allocation's shares: every tensor is in one of them, and none has more zeros than weights.

    Args:
        shares: the shares that the allocation returned.
        shapes: shapes of the tensors, by name.
        asked: the allocation, for the message.

    Raises:
        ConfigError: they are not whole.
    """
    names = Counter(name for share in shares for name in share.names)
    if wrong := [name for name in {**shapes, **names} if names[name] != (name in shapes)]:
        raise ConfigError(KEY, asked, f"must have every tensor in one share; it has {wrong[0]} in {names[wrong[0]]}")
    for share in shares:
        size = sum(size_of(shapes[name]) for name in share.names)
        if type(share.zeros) is not int or not 0 <= share.zeros <= size:
            allowed = f"asks {share.zeros} zeros of {size} weights ({listing(share.names)})"
            raise ConfigError(KEY, asked, f"{allowed}; a share's zeros are an integer from 0 to its weights")


ALLOCATIONS.register("global", _grouped(lambda _name: ""))
ALLOCATIONS.register("layer", _grouped(layer_of))
ALLOCATIONS.register("tensor", _grouped(lambda name: name))
ALLOCATIONS.register("erk", _erdos_renyi_kernel)
