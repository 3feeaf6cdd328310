"""The pointing game: the words of a split whose objects have boxes, and the number of hits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.errors import ConfigError, OneLineExit
from fairseq_parp.grounded.localising import points_at, relevance_within, within_box
from fairseq_parp.manifests.alignments import Spoken
from fairseq_parp.manifests.reading import read_manifest
from fairseq_parp.retrieval.labels import Shown
from fairseq_parp.retrieval.localising import Localiser, Segments


class Word(NamedTuple):
    """A word of a caption whose object has a box.

    Attributes:
        where: name of the source in messages.
        caption: the recording, or the text.
        image: the picture's id.
        segments: places of the word in the caption.
        boxes: (K, 4) of the object: left, top, right, bottom of each of its places.
        others: the same of each other object of the picture.
    """

    where: str
    caption: str | Path
    image: str
    segments: Segments
    boxes: Tensor
    others: Sequence[Tensor]


class Pointed(NamedTuple):
    """The pointing game.

    Attributes:
        hits: one a word: whether the most relevant region's centre lies in a box of the object.
        chance: percentage of hits of a region drawn at random.
        preferred: one a word whose picture has other objects: whether its own is more relevant than each of these.
        even: percentage of these that a random choice among the objects has.
    """

    hits: list[bool]
    chance: float
    preferred: list[bool]
    even: float


def words_of_split(
    localiser: Localiser,
    data: str | Path,
    split: str,
    alignment: Mapping[str, Sequence[Spoken]] | None,
    objects: Mapping[str, Sequence[Shown]],
) -> Iterator[Word]:
    """Yield every word of a split's captions that is the name of an object in the caption's picture.

    Args:
        localiser: a localiser with the features of the pictures.
        data: folder with the split's files.
        split: name of it.
        alignment: words by recording; None of written captions.
        objects: objects by picture.

    Raises:
        ImagesError, ManifestError: the split's files do not fit together.
    """
    task = localiser.grounded.task
    task.cfg.data, task.cfg.images = str(data), str(localiser.features.path)
    try:
        task.load_dataset(split)
    except OneLineExit as stop:
        raise stop.error from None
    dataset = task.datasets[split]
    captioned = dataset.dataset
    root = "" if localiser.written else read_manifest(Path(data, f"{split}.tsv")).root
    for index, row in enumerate(captioned.rows.tolist()):
        image = localiser.features.ids[row]
        caption = captioned.dataset.texts[index] if localiser.written else Path(root, dataset.path(index))
        spoken = localiser.words(caption, alignment)
        for name in dict.fromkeys(each.word.casefold() for each in spoken):
            boxes = _by_name(objects.get(image, ()))
            length = dataset.num_tokens(index) / localiser.grounded.rate
            heard = [(start, min(end, length)) for start, end in localiser.segments(name, caption, alignment)]
            segments = [(start, end) for start, end in heard if start < end]  # audio may be cut before a word
            if name in boxes and segments:
                own = boxes.pop(name)
                yield Word(f"{dataset.origin(index)}, {name}", caption, image, segments, own, [*boxes.values()])


def _by_name(objects: Sequence[Shown]) -> dict[str, Tensor]:
    """Return the boxes (K, 4) of each name in a picture, in small letters."""
    boxes: dict[str, list[Tensor]] = {}
    for each in objects:
        boxes.setdefault(each.label.casefold(), []).append(each.box)
    return {name: torch.stack(places) for name, places in boxes.items()}


def point(localiser: Localiser, words: Iterable[Word], source: str = "the split") -> Pointed:
    """Play the pointing game.

    Args:
        localiser: model with the features of the pictures.
        words: words of a split, see :func:`words_of_split`.
        source: name of the words in messages.

    Raises:
        ConfigError: there is no word, or one is not within its recording.
    """
    hits, chances, preferred, evens = [], [], [], []
    for word in words:
        try:
            found, boxes = localiser.find(word.caption, word.image, word.segments)
        except ConfigError as error:
            raise ConfigError(f"{word.where}: {error.key}", error.value, error.allowed) from None
        inside = torch.stack([within_box(boxes, box) for box in word.boxes]).any(0)
        hits.append(points_at(found, inside))
        chances.append(float(inside.double().mean()))
        if word.others:
            own, *others = (relevance_within(found, boxes, each) for each in (word.boxes, *word.others))
            preferred.append(own > max(others))
            evens.append(1 / (1 + len(others)))
    if not hits:
        raise ConfigError("pointing game", source, "has no word whose object has a box in the caption's picture")
    return Pointed(hits, _percent(chances), preferred, _percent(evens))


def _percent(fractions: Sequence[float]) -> float:
    return 100 * sum(fractions) / len(fractions) if fractions else 0.0
