"""Groups rows of results: runs that differ only in the seed are one system."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fairseq_parp.errors import ComparisonError
from fairseq_parp.experiments.procedures import BASELINE, facts_of, known
from fairseq_parp.experiments.results import ResultRow

T = TypeVar("T")


@dataclass(frozen=True)
class System:
    """Runs of one setting on one test split, by ascending seed."""

    rows: tuple[ResultRow, ...]

    @property
    def one(self) -> ResultRow:
        """The run with the lowest seed."""
        return self.rows[0]

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Where systems can be compared: the same data, config, protocol and split."""
        return self.one.data, self.one.config, self.one.protocol, self.one.split

    def values(self, column: str) -> list[Any]:
        """Return a column's values, without those that are None."""
        return [value for row in self.rows if (value := getattr(row, column)) is not None]

    def mean(self, column: str) -> float | None:
        """Return the mean of a column over the seeds; None if no seed has a value."""
        values = self.values(column)
        return statistics.fmean(values) if values else None


def systems_of(rows: Iterable[ResultRow]) -> list[System]:
    """Group rows to systems, in an order that does not depend on that of the rows.

    Raises:
        ComparisonError: two runs have the same setting and seed.
    """
    found = []
    for members in group(sorted(rows, key=_order), _order).values():
        by_seed = {row.seed: row for row in members}
        if len(by_seed) < len(members):
            runs = sorted(row.run for row in members)
            raise ComparisonError(f"runs {runs[0]} and {runs[1]} have the same setting, seed and split: keep one row")
        found.append(System(tuple(by_seed[seed] for seed in sorted(by_seed))))
    return found


def trainings(rows: Iterable[ResultRow]) -> list[System]:
    """Group rows to systems, whatever their test split: each run occurs once, with an empty split."""
    return systems_of({row.run: replace(row, split="") for row in rows}.values())


def group(items: Iterable[T], key: Callable[[T], Hashable]) -> dict[Any, list[T]]:
    """Return the items by their keys, both in the order in which they come."""
    found: dict[Any, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def main_settings(systems: Iterable[System]) -> list[list[list[System]]]:
    """Return, for each place, method, mask to start from and variant, the setting that was run at most sparsities.

    A setting is interval, learning rate and length; those that tie for most are all there. Each is a list of systems.
    """
    found = []
    for variants in group(systems, lambda system: (system.place, *_kind(system.one))).values():
        settings = group(variants, lambda system: (system.one.interval, system.one.lr, system.one.updates)).values()
        most = max(map(len, settings))
        found.append([setting for setting in settings if len(setting) == most])
    return found


def series(systems: Iterable[System]) -> list[list[System]]:
    """Return one line over sparsities for each place, method, mask to start from and variant, dense being one point."""
    return [settings[0] for settings in main_settings(systems)]


class Names:
    """Short names of systems: method and sparsity, and the settings in which a method's systems differ at one place."""

    def __init__(self, systems: Sequence[System]) -> None:
        self._intervals, self._rates, self._lengths = (
            _varying(systems, column) for column in ("interval", "lr", "updates")
        )

    def __call__(self, system: System, named: Collection[str] = ()) -> str:
        """Return a name such as ``parp 0.5, interval 20``; ``lr`` and ``updates`` are there anyway if ``named``."""
        row = system.one
        return self.line(system, row.method if row.method == BASELINE else f"{row.method} {row.sparsity:g}", named)

    def line(self, system: System, head: str = "", named: Collection[str] = ()) -> str:
        """Return the name without the sparsity, or with ``head`` in place of the method."""
        row = system.one
        parts = {
            head or row.method: True,
            row.variant: row.variant,
            f"mask from {row.mask_from}": row.mask_from,
            f"interval {row.interval}" if row.interval else "never re-pruned": _method_of(row) in self._intervals,
            f"lr {row.lr:g}": "lr" in named or _method_of(row) in self._rates,
            f"{row.updates} updates": "updates" in named or _method_of(row) in self._lengths,
        }
        return ", ".join(part for part, differs in parts.items() if differs)


def reprunes(row: ResultRow) -> bool:
    """Return whether a row's method re-prunes: only then an interval has a meaning."""
    return row.method in known() and facts_of(row.method).reprunes


def interval_of(row: ResultRow) -> str:
    """Return the interval in words."""
    return ("never" if reprunes(row) else "-") if row.interval is None else str(row.interval)


def _varying(systems: Sequence[System], column: str) -> set[tuple[str, ...]]:
    """Return the methods, each at its place, that have several values in a column."""
    methods = group((system.one for system in systems), _method_of)
    return {method for method, rows in methods.items() if len({getattr(row, column) for row in rows}) > 1}


def _kind(row: ResultRow) -> tuple[str, str, str]:
    """Return the settings in which lines over sparsities differ."""
    return row.method, row.mask_from, row.variant


def _method_of(row: ResultRow) -> tuple[str, ...]:
    return row.data, row.config, row.protocol, row.method


def _order(row: ResultRow) -> tuple[Any, ...]:
    """Return the settings in which rows differ, as a key to sort by."""
    order = known()
    method = order.index(row.method) if row.method in order else len(order)
    never = row.interval is None
    return (
        row.data, row.config, row.protocol, row.split, method, row.method, row.mask_from, row.variant,
        never, row.interval or 0, row.lr, row.updates, row.sparsity,
    )  # fmt: skip
