"""One row of the table: ours against a peer, run by run, and whether the ratio keeps to its bar."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scipy.stats import binom

from benchmarks.cost import Clock, Cost, typical

RUNS, RUNS_OF_SLOW, SLOW = (9, 15, 21, 27), (5, 9), 5.0
"""Pairs after which a row is looked at, until they agree; fewer for a slow peer."""

RUNS_OF_SLOWEST = 3
"""Measurements where each one starts a process of its own."""

BY_CHANCE = 0.05
"""How often as many pairs as :func:`differing` allows would agree at one look, were the true ratio the bar itself."""

LEVEL = 0.1
"""How far from the bar the middle pairs may lie, that a ratio on neither side of it is level with it."""

Judge = Clock | Literal["bytes"]


@dataclass(frozen=True)
class Bar:
    """The limit of a ratio.

    Attributes:
        value: the bar itself; None if the row has no bar.
        faster: the ratio is peer / ours and must be at least the bar; else it is ours / peer, at most the bar.
    """

    value: float | None
    faster: bool = False

    def ratio(self, ours: float, peer: float) -> float:
        """Return the ratio that the bar is for."""
        return peer / ours if self.faster else ours / peer

    def holds(self, ratio: float) -> bool | None:
        """Return whether a ratio keeps to the bar, if there is one."""
        if self.value is None:
            return None
        return ratio >= self.value if self.faster else ratio <= self.value


NO_BAR = Bar(None)


@dataclass(frozen=True)
class Row:
    """A result.

    Attributes:
        name: unique.
        by: the quantity that is compared, and that judges the row: CPU time, the wall clock, or bytes.
        ours, peer: medians in ``unit``; NaN where nothing could be measured.
        ratio: median of the pairs' ratios.
        bar, faster: see :class:`Bar`.
        holds: whether the pairs keep to the bar; None without a bar, and where they disagree or nothing was measured.
        why: why the row is null; or why it does not hold, if that is not for the ratio.
        unit: "s" or "bytes".
        against: the peer's name.
        runs: measurements of each side.
        ours_spread, peer_spread: see :func:`spread`.
        wall_ratio: the ratio on the wall clock, whichever clock judges; NaN for bytes.
        level: whether the pairs disagree only because the ratio equals the bar, measured to within ``LEVEL``.
    """

    name: str
    by: Judge
    ours: float
    peer: float
    ratio: float
    bar: float | None
    holds: bool | None
    why: str | None
    faster: bool
    unit: str
    against: str
    runs: int
    ours_spread: float
    peer_spread: float
    wall_ratio: float = math.nan
    level: bool = False

    @property
    def null(self) -> bool:
        """Whether the row could not be measured, or is too noisy to be judged."""
        return self.holds is None and self.why is not None and not self.level

    @property
    def verdict(self) -> str:
        """``yes``, ``no``, ``level``, ``null``, or ``-`` without a bar."""
        if self.null or self.level:
            return "level" if self.level else "null"
        return {True: "yes", False: "no", None: "-"}[self.holds]

    @property
    def relative(self) -> float:
        """Ours, where the peer is 1: less is better in every row."""
        return 1 / self.ratio if self.faster else self.ratio

    @property
    def limit(self) -> float:
        """The bar, where the peer is 1."""
        if self.bar is None:
            return math.nan
        return 1 / self.bar if self.faster else self.bar


@dataclass(frozen=True)
class Job:
    """Something to measure that gives one row for each of ``names``; ``run`` returns them in that order."""

    names: Sequence[str]
    run: Callable[[], Iterator[Row]]


def spread(values: Sequence[float]) -> float:
    """Return (largest - smallest) / median.

    >>> spread([1.0, 2.0, 3.0])
    1.0
    """
    return (max(values) - min(values)) / statistics.median(values)


def compare(
    name: str,
    bar: Bar,
    against: str,
    ours: Sequence[Cost],
    peer: Sequence[Cost],
    scale: float = 1.0,
    by: Clock = "cpu",
) -> Row:
    """Make a row of paired costs.

    Args:
        name, bar, against: the row's name, its bar, and the peer's name.
        ours, peer: costs; those at the same place were measured right after one another.
        scale: factor of the peer's costs, if the peer does only a part of the work.
        by: the clock that judges. CPU time counts work and hardly depends on other programs. The wall clock is for
            rows about waiting: for the disk, or for data.
    """
    rows = {
        clock: _row(name, bar, against, clock, [getattr(each, clock) for each in ours],
                    [scale * getattr(each, clock) for each in peer])
        for clock in ("cpu", "wall")
    }  # fmt: skip
    return replace(rows[by], wall_ratio=rows["wall"].ratio)


def compare_bytes(name: str, bar: Bar, against: str, ours: Sequence[float], peer: Sequence[float]) -> Row:
    """Make a row of paired sizes in bytes."""
    return _row(name, bar, against, "bytes", ours, peer)


def differing(pairs: int) -> int:
    """Return how many of ``pairs`` may lie on the other side of the bar than their median.

    >>> [differing(pairs) for pairs in (3, 5, 9, 15, 21, 27)]
    [0, 0, 1, 3, 5, 7]
    """
    return max(0, int(binom.ppf(BY_CHANCE / 2, pairs, 0.5)) - 1)


def middle(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest ratio without those that may differ at either end: the median's interval.

    >>> middle([9, 1, 2, 3, 4, 5, 6, 7, 8])
    (2, 8)
    """
    ordered, left_out = sorted(ratios), differing(len(ratios))
    return ordered[left_out], ordered[-1 - left_out]


def _agree(bar: Bar, ratios: Sequence[float]) -> bool:
    low, high = middle(ratios)
    return bar.holds(low) == bar.holds(high)


def _row(name: str, bar: Bar, against: str, by: Judge, ours: Sequence[float], peer: Sequence[float]) -> Row:
    ratios = [bar.ratio(mine, other) for mine, other in zip(ours, peer, strict=True)]
    ratio = statistics.median(ratios)
    holds, agree = bar.holds(ratio), _agree(bar, ratios)
    low, high = middle(ratios)
    level = not agree and bar.value is not None and max(bar.value - low, high - bar.value) <= LEVEL * bar.value
    problem = f"the middle pairs are within {LEVEL:.0%} of the bar" if level else "the pairs disagree"
    why = None if agree else f"{problem}: {low:.3g} to {high:.3g}"
    return Row(
        name, by, statistics.median(ours), statistics.median(peer), ratio, bar.value, holds if agree else None,
        why, bar.faster, "bytes" if by == "bytes" else "s", against, len(ours), spread(ours), spread(peer),
        level=level,
    )  # fmt: skip


def unmeasured(name: str, bar: Bar, against: str, why: str, by: Judge = "cpu") -> Row:
    """Make the row of a measurement that is impossible here; its numbers are NaN."""
    nan = math.nan
    return Row(name, by, nan, nan, nan, bar.value, None, why, bar.faster, "s", against, 0, nan, nan)


def in_turn(
    prepare: Callable[[], object],
    ours: Callable[[], object],
    peer: Callable[[], object],
    bars: Sequence[Bar] = (),
    by: Clock = "cpu",
) -> tuple[list[Cost], list[Cost]]:
    """Measure peer and ours in turn; ``prepare`` runs unmeasured before each run, and ours has a warm-up run.

    More pairs are measured while the present ones disagree about one of the ``bars``, of the clock ``by``.
    """
    prepare()
    ours()
    mine: list[Cost] = []
    others: list[Cost] = []

    def settled() -> bool:
        pairs = [(getattr(a, by), getattr(b, by)) for a, b in zip(mine, others, strict=True)]
        return all(_agree(bar, [bar.ratio(*pair) for pair in pairs]) for bar in bars)

    while True:
        looks = RUNS_OF_SLOW if others and min(others).wall > SLOW else RUNS
        if len(mine) >= looks[-1] or (len(mine) in looks and settled()):
            return mine, others
        others.append(typical(prepare, peer))
        mine.append(typical(prepare, ours))
