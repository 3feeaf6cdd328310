"""Segments of speech found in pictures by a grounded checkpoint's codes, and the pointing game over a file of words."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.errors import AudioError, CheckpointError, ConfigError, ImagesError, absolute
from fairseq_parp.grounded.features import Features
from fairseq_parp.grounded.localising import points_at, relevance, within_box
from fairseq_parp.retrieval.embedding import require_same
from fairseq_parp.retrieval.loading import Grounded
from fairseq_parp.transcription.audio import read_audio

COLUMNS = ("audio", "image", "start", "end", "left", "top", "right", "bottom")
"""Columns of a file of words: seconds, and a box as fractions of the picture."""


class Word(NamedTuple):
    """A spoken word whose object has a box.

    Attributes:
        where: file and line.
        audio: the recording.
        image: the picture's id.
        start, end: of the word in seconds.
        box: (4,) of the object: left, top, right, bottom.
    """

    where: str
    audio: Path
    image: str
    start: float
    end: float
    box: Tensor


class Pointed(NamedTuple):
    """The pointing game.

    Attributes:
        hits: one a word: whether the most relevant region's centre lies in the object's box.
        chance: percentage of hits of a region drawn at random.
    """

    hits: list[bool]
    chance: float


class Localiser:
    """Compares speech with regions by the codes of a grounded checkpoint.

    Args:
        grounded: the loaded checkpoint.
        features: of the pictures.

    Raises:
        CheckpointError: the model has no seeded codes.
        ConfigError: the features are of another encoder or size than the model was trained on.
        ImagesError: the regions have no boxes.
    """

    def __init__(self, grounded: Grounded, features: Features) -> None:
        parts: Any = grounded.model.grounded
        if "codes" not in parts or not parts["codes"].book.seeded:
            reason = "has no codes: train with model.codes above 0 for more updates than model.code_warm_up"
            raise CheckpointError(absolute(grounded.path), reason)
        if not features.has_boxes:
            raise ImagesError(features.path, "has no boxes: the places of regions are not known; write them beside")
        require_same(grounded, features)
        self._grounded, self._features, self._codes = grounded, features, parts["codes"]

    @torch.no_grad()
    def find(self, audio: str | Path, image: str, start: float, end: float) -> tuple[Tensor, Tensor]:
        """Return the relevance (R,) of each region for a segment of speech, and the regions' boxes (R, 4).

        Args:
            audio: the recording; as in training, it is cut after ``task.max_sample_size`` samples.
            image: id of the picture.
            start, end: of the segment in seconds.

        Raises:
            ImagesError: the picture has no features.
            AudioError: the recording cannot be read, or is too short.
            ConfigError: the segment is empty or not within the recording.
        """
        if image not in self._features.rows:
            raise ImagesError(self._features.path, f"has no picture {image!r}")
        values, boxes = self._features[self._features.rows[image]]
        if boxes is None:
            raise ImagesError(self._features.path, "has no boxes")
        device, model = self._grounded.device, self._grounded.model
        _, seen = model.encode_images(values[None].to(device), boxes[None].to(device))
        _, spoken = model.encode_audio(self._read(audio, start, end)[None].to(device))
        frames = self._probabilities(spoken)
        first, last = self._frames(len(frames), start, end)
        return relevance(frames[first:last], self._probabilities(seen)), boxes

    def _read(self, audio: str | Path, start: float, end: float) -> Tensor:
        cfg = self._grounded.task.cfg
        source = read_audio(audio, cfg.sample_rate, False)[: cfg.max_sample_size]
        if len(source) < (least := shortest_input(self._grounded.model)):
            raise AudioError(absolute(audio), f"too short: {len(source)} samples, one encoder frame needs {least}")
        self._seconds = len(source) / cfg.sample_rate
        if not 0 <= start < end <= self._seconds:
            allowed = f"must be a segment within the {self._seconds:.2f} seconds of {absolute(audio)}"
            raise ConfigError("start and end", f"{start:g} to {end:g}", allowed)
        return torch.nn.functional.layer_norm(source, source.shape) if cfg.normalize else source

    def _frames(self, frames: int, start: float, end: float) -> tuple[int, int]:
        """Return the frames that a segment touches; they divide the recording evenly."""
        rate = frames / self._seconds
        first = min(int(start * rate), frames - 1)
        return first, max(math.ceil(end * rate), first + 1)

    def _probabilities(self, coded: Any) -> Tensor:
        """Return (T, V) probabilities of the codes, of the only item of a batch."""
        distances = self._codes.book.distances(coded.features[0])
        found: Tensor = (-distances / self._codes.temperature).softmax(-1)
        return found.cpu()


def read_words(path: str | Path) -> Iterator[Word]:
    """Yield the words of a tab-separated file with the columns :data:`COLUMNS`; paths are relative to its folder.

    Raises:
        ConfigError: a column is missing, or a value is not a number.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise ConfigError("--words", str(path), f"lacks the column(s) {', '.join(missing)} in its first line")
        for number, row in enumerate(rows, 2):
            where = f"{absolute(path)}:{number}"
            try:
                start, end, *box = (float(row[name]) for name in COLUMNS[2:])
            except (TypeError, ValueError) as error:
                raise ConfigError("--words", where, f"needs a number in {', '.join(COLUMNS[2:])} ({error})") from None
            yield Word(where, Path(path).parent / row["audio"], row["image"], start, end, torch.tensor(box))


def point(localiser: Localiser, words: Iterator[Word]) -> Pointed:
    """Play the pointing game.

    Raises:
        ConfigError: there is no word, or one is not within its recording.
    """
    hits, chances = [], []
    for word in words:
        try:
            found, boxes = localiser.find(word.audio, word.image, word.start, word.end)
        except ConfigError as error:
            raise ConfigError(f"{word.where}: {error.key}", error.value, error.allowed) from None
        inside = within_box(boxes, word.box)
        hits.append(points_at(found, inside))
        chances.append(float(inside.double().mean()))
    if not hits:
        raise ConfigError("--words", "no line", "must have one word at least")
    return Pointed(hits, 100 * sum(chances) / len(chances))
