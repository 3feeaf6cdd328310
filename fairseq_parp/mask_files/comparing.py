"""Several masks side by side: every pair, and each against a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from fairseq_parp.errors import MaskError
from fairseq_parp.sparsity import MaskSet
from fairseq_parp.sparsity.overlap import Overlap, overlap

Parts = Mapping[str, Mapping[str, Overlap]]
"""The result of :func:`~fairseq_parp.sparsity.overlap.overlap`."""


@dataclass(frozen=True)
class MaskComparison:
    """Overlaps of several masks.

    Attributes:
        sparsities: sparsity by the mask's name, in the order in which they were given.
        pairs: overlaps of each two masks, the earlier one first.
        baselines: overlaps of each mask with the baseline; empty without a baseline.
    """

    sparsities: Mapping[str, float]
    pairs: Mapping[tuple[str, str], Parts]
    baselines: Mapping[str, Parts]

    @property
    def letters(self) -> dict[str, str]:
        """A, B, C, ... by the mask's name: names of files are too long for the heads of tables."""
        return dict(zip(self.sparsities, ascii_uppercase + ascii_lowercase, strict=False))

    @property
    def columns(self) -> dict[str, Parts]:
        """All overlaps by a short title: ``A-B``, ..., ``A-baseline``, ..."""
        letter = self.letters
        pairs = {f"{letter[one]}-{letter[other]}": parts for (one, other), parts in self.pairs.items()}
        return pairs | {f"{letter[name]}-baseline": parts for name, parts in self.baselines.items()}

    def overall(self, one: str, other: str) -> Overlap:
        """Return the overlap of two masks over all weights, whichever comes first."""
        return (self.pairs.get((one, other)) or self.pairs[other, one])["overall"][""]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: every overlap with ``iou``, ``chance``, ``both``, ``either``, ``cosine``."""
        return {
            "masks": [{"name": name, "sparsity": sparsity} for name, sparsity in self.sparsities.items()],
            "pairs": [{"masks": list(pair), **_plain(parts)} for pair, parts in self.pairs.items()],
            "baselines": [{"mask": name, **_plain(parts)} for name, parts in self.baselines.items()],
        }


def compare(masks: Mapping[str, MaskSet], baseline: MaskSet | None = None) -> MaskComparison:
    """Compare masks of the same model, by name.

    Args:
        masks: two to 52 masks.
        baseline: a mask with which each of them is compared, such as MPI, from which a run started.

    Raises:
        MaskError: they are masks of different models; the message names both.
    """
    (first, names), *_ = ((name, list(mask.bits)) for name, mask in masks.items())
    alike = {name: _renamed(mask, names, masks[first], f"{name} against {first}") for name, mask in masks.items()}
    start = None if baseline is None else _renamed(baseline, names, masks[first], f"the baseline against {first}")
    return MaskComparison(
        sparsities={name: mask.sparsity for name, mask in masks.items()},
        pairs={(one, other): overlap(alike[one], alike[other]) for one, other in combinations(alike, 2)},
        baselines={} if start is None else {name: overlap(mask, start) for name, mask in alike.items()},
    )


def within(mask: MaskSet, other: MaskSet) -> MaskSet:
    """Return the part of a mask that covers another mask's parameters; the whole mask where it lacks one of them."""
    names = list(other.renamed(mask.bits).bits)
    if not set(names) <= set(mask.bits):
        return mask
    return MaskSet({name: mask.bits[name] for name in names}, {name: mask.shapes[name] for name in names})


def _renamed(mask: MaskSet, names: list[str], first: MaskSet, which: str) -> MaskSet:
    """Return the mask under the names of the first one, so that layers have one name throughout."""
    renamed = mask.renamed(names)
    try:
        renamed.require_same_model(first.shapes, "the first one")
    except MaskError as error:
        raise MaskError(f"{which}: {error}") from None
    return renamed


def _plain(parts: Parts) -> dict[str, Any]:
    plain = {title: {name: _values(found) for name, found in rows.items()} for title, rows in parts.items()}
    return {"overall": plain["overall"][""], "layers": plain["layer"], "kinds": plain["kind"]}


def _values(found: Overlap) -> dict[str, float]:
    return {
        "iou": found.iou,
        "chance": found.chance,
        "both": found.both,
        "either": found.either,
        "cosine": found.cosine,
        "cosine_chance": found.cosine_by_chance,
    }
