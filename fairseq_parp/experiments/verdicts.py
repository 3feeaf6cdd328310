"""Selects the systems to compare: every sparse one with dense, and PARP with the other methods at the same sparsity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from fairseq_parp.errors import ConfigError, ExperimentFileError
from fairseq_parp.experiments.comparison import Comparison, Decoded, compare
from fairseq_parp.experiments.procedures import BASELINE, known
from fairseq_parp.experiments.results import ResultRow
from fairseq_parp.experiments.systems import Names, System, group, main_settings
from fairseq_parp.scoring import Utterance, score_utterances

FAVOURITE = "parp"
"""The method that is compared with all others at the same sparsity, from the same mask."""

Pair = tuple[System, System]


class Decodings:
    """The decoded files of an experiment, each read once.

    Args:
        folder: the folder of the results file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, dict[int, Utterance]] = {}

    def has(self, system: System) -> bool:
        """Return whether all files of a system are there."""
        return all((self._folder / row.decoded).is_file() for row in system.rows)

    def compare(self, first: System, second: System) -> Comparison:
        """Compare two systems.

        Raises:
            ComparisonError: they were not decoded on the same utterances.
            ExperimentFileError: a decoded file does not have the error rate that its row has.
            ResultsError: a decoded file is damaged.
        """
        return compare(self._of(first), self._of(second), trained_alike=first.place == second.place)

    def _of(self, system: System) -> Decoded:
        return {row.seed: self._utterances(row) for row in system.rows}

    def _utterances(self, row: ResultRow) -> dict[int, Utterance]:
        if row.decoded not in self._read:
            self._read[row.decoded] = _score(row, self._folder / row.decoded)
        return self._read[row.decoded]


def _score(row: ResultRow, path: Path) -> dict[int, Utterance]:
    try:
        found = score_utterances(path)
    except ConfigError:  # such as empty hypotheses alone; symbols that have words would have shown it by their boundary
        found = score_utterances(path, "symbols" if row.wer is None else "letters")
    errors, total = (sum(getattr(each.units, what) for each in found.values()) for what in ("errors", "total"))
    if not math.isclose(100 * errors / total, row.uer, abs_tol=1e-6):
        message = f"its UER is {100 * errors / total:.4f}, that of run {row.run} is {row.uer:.4f}"
        raise ExperimentFileError(path, f"{message}: the file has changed since the results were computed")
    return found


def against_dense(systems: Sequence[System]) -> list[Pair]:
    """Return every sparse system, and every dense variant, with the dense one of the same place."""
    others = [system for system in systems if system.one.method != BASELINE or system.one.variant]
    return list(_pairs(others, systems, [BASELINE]))


def against_rivals(systems: Sequence[System]) -> list[Pair]:
    """Return every PARP system with each other method's of the same place, sparsity and mask to start from.

    Of several intervals, learning rates or lengths, only the main setting is there: the best of many, chosen on the
    test split, would win by being chosen.
    """
    parp = [system for system in systems if system.one.method == FAVOURITE]
    main = [system for settings in main_settings(parp) for setting in settings for system in setting]
    rivals = [name for name in known() if name not in (BASELINE, FAVOURITE)]
    return list(_pairs(main, systems, rivals))


def across_training_sets(systems: Sequence[System]) -> list[Pair]:
    """Return every two systems that differ in their training sets alone, tested on the same set's split.

    That is one joint run against single ones: their ``test`` names the split as ``NAME/SPLIT``.
    """
    columns = ("split", "protocol", "method", "sparsity", "mask_from", "variant")
    alike = group((s for s in systems if "/" in s.one.split), lambda s: tuple(getattr(s.one, c) for c in columns))
    pairs = (pair for members in alike.values() for pair in combinations(members, 2))
    return [(one, other) for one, other in pairs if one.one.data != other.one.data]


def _pairs(firsts: Sequence[System], systems: Sequence[System], methods: Sequence[str]) -> Iterator[Pair]:
    for first in firsts:
        for method in methods:
            yield from ((first, second) for second in _partners(first, systems, method))


def _partners(first: System, systems: Sequence[System], method: str) -> list[System]:
    """Return the systems of ``method`` to hold ``first`` against: of those, the ones most like it.

    A dense variant is held against plain dense, a sparse one against dense of its own variant where that was run.
    """
    found = [
        other
        for other in systems
        if other.one.method == method and other.place == first.place
        and (method == BASELINE or _start(other.one) == _start(first.one))
    ]  # fmt: skip
    if method == BASELINE:
        variants = [""] if first.one.method == BASELINE else [first.one.variant, ""]
        found = next((alike for each in variants if (alike := [o for o in found if o.one.variant == each])), [])
    for column in ("updates", "lr", "interval"):
        alike = [other for other in found if getattr(other.one, column) == getattr(first.one, column)]
        found = alike or found
    return found


def _start(row: ResultRow) -> tuple[float, str, str]:
    return row.sparsity, row.mask_from, row.variant


def in_words(pair: Pair, names: Names) -> str:
    """Return a pair's names and its test split; learning rates and lengths are named where they differ."""
    first, second = pair
    named = [column for column in ("lr", "updates") if getattr(first.one, column) != getattr(second.one, column)]
    return f"{names(first, named)} against {names(second, named)} on {first.one.split}"
