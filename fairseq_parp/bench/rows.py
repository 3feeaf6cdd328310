"""One row of the table: ours against a peer, run by run, and whether the ratio keeps to its bar."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

RUNS, RUNS_OF_SLOW, SLOW = 5, 3, 5.0
"""Runs of each side; fewer where one run of the peer takes more than so many seconds."""

MOST_SPREAD = 0.2
"""(largest - smallest) / median of the peer's runs, above which nothing can be said."""


@dataclass(frozen=True)
class Bar:
    """What a ratio has to keep to.

    Attributes:
        value: the bar itself; None where there is none, and the row only tells what is.
        faster: the ratio is peer / ours and must be at least the bar; else it is ours / peer, at most the bar.
    """

    value: float | None
    faster: bool = False

    def ratio(self, ours: float, peer: float) -> float:
        """Return the ratio that the bar is for."""
        return peer / ours if self.faster else ours / peer

    def holds(self, ratio: float) -> bool | None:
        """Tell whether a ratio keeps to the bar, if there is one."""
        if self.value is None:
            return None
        return ratio >= self.value if self.faster else ratio <= self.value


NO_BAR = Bar(None)
_NO_BAR = "no bar: it tells what is"


@dataclass(frozen=True)
class Row:
    """A result. ``ours`` and ``peer`` are medians in ``unit``, NaN where nothing could be measured.

    ``why`` says why ``holds`` is None; or False, where it is not for the ratio.
    """

    name: str
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
    name: str, bar: Bar, against: str, ours: Sequence[float], peer: Sequence[float], unit: str = "s", scale: float = 1.0
) -> Row:
    """Make a row of paired measurements: the ratio is the median of the pairs' ratios.

    Args:
        name, bar, against: the row's name, what it has to keep to, and the peer's name.
        ours, peer: measurements, those at the same place made right after one another.
        unit: of both.
        scale: what the peer's measurements are multiplied by, where the peer does a part of the work only.
    """
    scaled = [value * scale for value in peer]
    ratio = statistics.median(bar.ratio(mine, other) for mine, other in zip(ours, scaled, strict=True))
    noise = spread(peer)
    why = (
        f"the peer's own runs spread by {noise:.0%}" if noise > MOST_SPREAD else _NO_BAR if bar.value is None else None
    )
    holds = None if why else bar.holds(ratio)
    return Row(
        name, statistics.median(ours), statistics.median(scaled), ratio, bar.value, holds, why, bar.faster, unit,
        against, len(ours), spread(ours), noise,
    )  # fmt: skip


def unmeasured(name: str, bar: Bar, against: str, why: str) -> Row:
    """Make the row of what cannot be measured here; its numbers are NaN."""
    nan = math.nan
    return Row(name, nan, nan, nan, bar.value, None, why, bar.faster, "s", against, 0, nan, nan)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turn(
    prepare: Callable[[], object], ours: Callable[[], object], peer: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Time peer and ours in turn, ``prepare`` untimed before each; ours has a warm-up run."""
    prepare()
    ours()
    mine: list[float] = []
    others: list[float] = []
    while len(mine) < (RUNS_OF_SLOW if others and min(others) > SLOW else RUNS):
        prepare()
        others.append(timed(peer))
        prepare()
        mine.append(timed(ours))
    return mine, others
