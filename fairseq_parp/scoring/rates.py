"""Errors of a hypothesis against its reference, by type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class ErrorRate:
    """Edit distance of hypotheses to references, by type of error.

    Attributes:
        substitutions, insertions, deletions: counts of an alignment with the fewest errors, summed over utterances.
        total: units in the references.
    """

    substitutions: int
    insertions: int
    deletions: int
    total: int

    @property
    def errors(self) -> int:
        """The edit distance: substitutions, insertions and deletions."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def percent(self) -> float:
        """100 errors / total; above 100 with many insertions."""
        return self.percent_of(self.errors)

    def percent_of(self, errors: int) -> float:
        """Return 100 ``errors`` / total."""
        return 100 * errors / self.total

    def __add__(self, other: ErrorRate) -> ErrorRate:
        return ErrorRate(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def error_rate(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorRate:
    """Align a hypothesis with its reference, unit by unit; either may be empty.

    Several alignments can have the fewest errors. The types are those of jiwer's alignment.
    """
    from jiwer import process_words  # here, as it takes 0.2 s that no other command needs

    # jiwer cuts text at spaces. A number for each unit keeps units apart that hold white space themselves.
    numbers = {unit: str(number) for number, unit in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    meant, heard = (" ".join(numbers[unit] for unit in units) for units in (reference, hypothesis))
    found = process_words(meant, heard)
    return ErrorRate(found.substitutions, found.insertions, found.deletions, len(reference))
