"""Labels of frames and regions: the word that is spoken, the object that is shown."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError, ImagesError, ItemError, absolute, listing
from fairseq_parp.grounded.localising import within_box
from fairseq_parp.grounded.purity import CodeLabels, code_labels
from fairseq_parp.grounded.words import words_of
from fairseq_parp.kinds import unreadable
from fairseq_parp.manifests.alignments import Spoken
from fairseq_parp.retrieval.embedding import Embedded

SIDES = ("left", "top", "right", "bottom")
"""Columns of a box: fractions of the picture. Of a clip, left and right are times as fractions of its length."""


class Shown(NamedTuple):
    """An object of a picture.

    Attributes:
        label: its name.
        box: (4,) left, top, right, bottom.
    """

    label: str
    box: Tensor


def read_objects(path: str | Path) -> dict[str, list[Shown]]:
    """Return the objects of each picture, by its id, from a tab-separated file: image, object and the :data:`SIDES`.

    Raises:
        ConfigError: it cannot be read, a column is missing, a value is not a number, or a box is empty or not within
            the picture.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--objects", path, unreadable(path, error)) from None
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
    missing = [name for name in ("image", "object", *SIDES) if name not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError("--objects", path, f"lacks the column(s) {', '.join(missing)} in its first line")
    found: dict[str, list[Shown]] = {}
    for number, row in enumerate(rows, 2):
        found.setdefault(row["image"], []).append(Shown(row["object"], _box(row, f"{absolute(path)}:{number}")))
    if not found:
        raise ConfigError("--objects", path, "has no object")
    return found


def _box(row: Mapping[str, str], where: str) -> Tensor:
    """Return the box (4,) of a row."""
    try:
        left, top, right, bottom = (float(row[name]) for name in SIDES)
    except (TypeError, ValueError) as error:
        raise ConfigError("--objects", where, f"needs a number in {', '.join(SIDES)} ({error})") from None
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        allowed = "must have a box within the picture: fractions from 0 to 1, left below right, top below bottom"
        raise ConfigError("--objects", where, allowed)
    return torch.tensor([left, top, right, bottom])


def named(embedded: Embedded) -> list[str]:
    """Return the name by which an alignment knows each caption: that of its audio file, without ending.

    Raises:
        ItemError: two captions have one name.
    """
    names = [Path(path).stem for path in embedded.paths]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ItemError(f"several captions have audio of one name, so an alignment cannot be used: {listing(twice)}")
    return names


def written_words(embedded: Embedded) -> dict[str, list[Spoken]]:
    """Return the words of written captions in the form of an alignment: each is one unit long."""
    texts = [words_of(text) for text in embedded.texts or ()]
    return {
        name: [Spoken(place, place + 1, word) for place, word in enumerate(text)]
        for name, text in zip(named(embedded), texts, strict=True)
    }


def word_labels(embedded: Embedded, alignment: Mapping[str, Sequence[Spoken]], where: str | Path) -> CodeLabels:
    """Count the words that are spoken in the middle of the frames next to each code.

    Args:
        embedded: a split.
        alignment: words by caption.
        where: the alignment's file, for messages.

    Raises:
        ItemError: no frame has a word.
    """
    codes, labels = list[int](), list[str | None]()
    for name, used, length in zip(named(embedded), embedded.caption_codes, embedded.lengths, strict=True):
        step, spoken = length / len(used.nearest), alignment.get(name, ())
        middles = [(frame + 0.5) * step for frame in range(len(used.nearest))]
        codes += used.nearest.tolist()
        labels += [next((each.word for each in spoken if each.start <= at < each.end), None) for at in middles]
    return _counted(codes, labels, ItemError(f"{absolute(where)}: has no word of a caption of this split"))


def object_labels(embedded: Embedded, objects: Mapping[str, Sequence[Shown]], where: str | Path) -> CodeLabels:
    """Count the objects in whose box the centres of the regions next to each code lie; of several, the smallest box.

    Args:
        embedded: a split.
        objects: objects by picture.
        where: their file, for messages.

    Raises:
        ImagesError: the regions have no boxes, or none lies in an object.
    """
    if embedded.boxes is None:
        raise ImagesError(where, "cannot be used: the features have no boxes, the places of regions are not known")
    codes, labels = list[int](), list[str | None]()
    for name, used, boxes in zip(embedded.ids, embedded.image_codes, embedded.boxes, strict=True):
        codes += used.nearest.tolist()
        labels += labels_of(boxes, objects.get(name, ()))
    return _counted(codes, labels, ImagesError(where, "has no object in which a region of this split lies"))


def labels_of(boxes: Tensor, objects: Sequence[Shown]) -> list[str | None]:
    """Return the object that each region (R, 4) shows, or None."""
    labels: list[str | None] = [None] * len(boxes)
    for shown in sorted(objects, key=_area, reverse=True):
        for region in within_box(boxes, shown.box).nonzero()[:, 0].tolist():
            labels[region] = shown.label
    return labels


def _area(shown: Shown) -> float:
    left, top, right, bottom = shown.box.tolist()
    return float((right - left) * (bottom - top))


def _counted(codes: Sequence[int], labels: Sequence[str | None], otherwise: Exception) -> CodeLabels:
    try:
        return code_labels(codes, labels)
    except ValueError:
        raise otherwise from None
