"""The overlap of the weights that two masks keep, and its value by chance.

``IOU = |A and B| / |A or B|`` over kept weights. Chance is the IOU of two independent random masks with the densities
(fractions kept) of A and B in every parameter: large layers that both masks keep densely overlap for this reason alone.
For one parameter of density d in both masks chance is ``d / (2 - d)``.

The cosine of two masks as vectors of 0 and 1 is ``|A and B| / sqrt(|A| |B|)``; its chance is that expected
intersection over the same root, d for one parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fairseq_parp.architectures import kind_of, layer_of
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.packing import ones

PARTS: dict[str, Callable[[str], str]] = {
    "overall": lambda _name: "",
    "layer": layer_of,
    "kind": kind_of,
}
"""An overlap is computed for all weights, each layer and each kind of module. From a parameter's name to its part."""

MEASURES = {"iou": "IOU of kept weights", "cosine": "Cosine of the masks"}
"""Measures of an overlap, and their titles."""


@dataclass(frozen=True)
class Overlap:
    """Overlap of two masks in one part of the model.

    Attributes:
        both: weights that both masks keep.
        either: weights that at least one of them keeps.
        each: weights that the first mask keeps, and weights that the second keeps.
        both_by_chance, either_by_chance: the expected values for independent random masks of the same densities.
    """

    both: int
    either: int
    both_by_chance: float
    either_by_chance: float
    each: tuple[int, int] = field(default=(0, 0), compare=False)

    @property
    def iou(self) -> float:
        """``|A and B| / |A or B|``; 1 if both masks keep nothing."""
        return self.both / self.either if self.either else 1.0

    @property
    def chance(self) -> float:
        """The IOU of independent masks: expected intersection over expected union."""
        return self.both_by_chance / self.either_by_chance if self.either_by_chance else 1.0

    @property
    def cosine(self) -> float:
        """``|A and B| / sqrt(|A| |B|)``; 1 if both masks keep nothing, 0 if one does."""
        root = (self.each[0] * self.each[1]) ** 0.5
        return self.both / root if root else float(self.each[0] == self.each[1])

    @property
    def cosine_by_chance(self) -> float:
        """The expected cosine of independent masks."""
        root = (self.each[0] * self.each[1]) ** 0.5
        return self.both_by_chance / root if root else float(self.each[0] == self.each[1])

    def by(self, measure: str) -> tuple[float, float]:
        """Return a measure (``iou`` or ``cosine``) and its value by chance."""
        return (self.iou, self.chance) if measure == "iou" else (self.cosine, self.cosine_by_chance)

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.both + other.both,
            self.either + other.either,
            self.both_by_chance + other.both_by_chance,
            self.either_by_chance + other.either_by_chance,
            (self.each[0] + other.each[0], self.each[1] + other.each[1]),
        )


def overlap(one: MaskSet, other: MaskSet) -> dict[str, dict[str, Overlap]]:
    """Compare two masks of the same model, by the parts in :data:`PARTS`.

    Returns:
        ``result["overall"][""]``, ``result["layer"][LAYER]``, ``result["kind"][KIND]``.

    Raises:
        MaskError: they are masks of different models.
    """
    other.require_same_model(one.shapes, "the first one's")
    each = {name: _of_parameter(one, other, name) for name in one.bits}
    return {title: _sums(each, part) for title, part in PARTS.items()}


def _of_parameter(one: MaskSet, other: MaskSet, name: str) -> Overlap:
    size = one.size(name)
    first, second = ones(one.bits[name]), ones(other.bits[name])
    both = ones(one.bits[name] & other.bits[name])
    expected = first * second / size if size else 0.0
    return Overlap(both, first + second - both, expected, first + second - expected, (first, second))


def _sums(each: Mapping[str, Overlap], part: Callable[[str], str]) -> dict[str, Overlap]:
    members: dict[str, list[Overlap]] = {}
    for name, found in each.items():
        members.setdefault(part(name), []).append(found)
    return {name: _sum(found) for name, found in members.items()}


def _sum(overlaps: Iterable[Overlap]) -> Overlap:
    return sum(overlaps, start=Overlap(0, 0, 0.0, 0.0, (0, 0)))
