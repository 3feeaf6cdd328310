"""Segments of captions found in pictures and clips by a grounded checkpoint's codes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.errors import AudioError, ConfigError, ImagesError, absolute, listing
from fairseq_parp.grounded.features import Features
from fairseq_parp.grounded.localising import relevance
from fairseq_parp.grounded.words import Words, words_of
from fairseq_parp.manifests.alignments import Spoken
from fairseq_parp.retrieval.embedding import require_same
from fairseq_parp.retrieval.loading import Grounded
from fairseq_parp.transcription.audio import read_audio

Segments = Sequence[tuple[float, float]]
"""Start and end of parts of a caption: in seconds, or of written ones in words."""


class Localiser:
    """Compares captions with regions by the codes of a grounded checkpoint.

    Args:
        grounded: the loaded checkpoint.
        features: features of the pictures or clips.

    Attributes:
        written: whether captions are texts; else they are paths of audio.

    Raises:
        CheckpointError: the model has no seeded codes.
        ConfigError: the features are of another encoder or size than the model was trained on.
        ImagesError: the regions have no boxes.
    """

    def __init__(self, grounded: Grounded, features: Features) -> None:
        codes = grounded.require_codes()
        if not features.has_boxes:
            raise ImagesError(features.path, "has no boxes of the regions; fairseq-parp images import takes --boxes")
        require_same(grounded, features)
        self.grounded, self.features, self._codes = grounded, features, codes
        self.written = grounded.written

    @torch.no_grad()
    def find(self, caption: str | Path, image: str, segments: Segments) -> tuple[Tensor, Tensor]:
        """Return the relevance (R,) of each region for segments of a caption, and the regions' boxes (R, 4).

        Args:
            caption: the recording, or the text; as in training, it is cut where it is too long.
            image: id of the picture or clip.
            segments: segments of the caption.

        Raises:
            ImagesError: the picture has no features.
            AudioError: the recording cannot be read, or is too short.
            ConfigError: a segment is empty or not within the caption.
        """
        if image not in self.features.rows:
            raise ImagesError(self.features.path, f"has no picture {image!r}")
        values, boxes = self.features[self.features.rows[image]]
        if boxes is None:
            raise ImagesError(self.features.path, "has no boxes")
        device, model = self.grounded.device, self.grounded.model
        _, seen = model.encode_images(values[None].to(device), boxes[None].to(device))
        source = self._text(str(caption)) if self.written else self._audio(caption)
        _, said = model.encode_captions(source[None].to(device))
        frames, length = self._probabilities(said), len(source) / self.grounded.rate
        for start, end in segments:
            if not 0 <= start < end <= length + length / len(frames):  # alignments are rounded
                within = f"{absolute(caption)}" if not self.written else repr(str(caption))
                allowed = f"must be a segment within the {length:.2f} {self.unit} of {within}"
                raise ConfigError("start and end", f"{start:g} to {end:g}", allowed)
        chosen = {frame for segment in segments for frame in _touched(*segment, len(frames), length)}
        return relevance(frames[sorted(chosen)], self._probabilities(seen)), boxes

    @property
    def unit(self) -> str:
        """Of the length of captions."""
        return "words" if self.written else "seconds"

    def segments(self, word: str, caption: str | Path, alignment: Mapping[str, Sequence[Spoken]] | None) -> Segments:
        """Return where in a caption a word is, as often as it occurs; capitals do not matter.

        Args:
            word: the word to find.
            caption: the recording, or the text.
            alignment: words by the name of their recording without ending; None of texts.

        Raises:
            ConfigError: the caption has no such word.
        """
        spoken = self.words(caption, alignment)
        found = [(each.start, each.end) for each in spoken if each.word.casefold() == word.casefold()]
        if not found:
            there = listing(dict.fromkeys(each.word for each in spoken), most=30) if spoken else "none at all"
            raise ConfigError("--word", word, f"is not in {str(caption)!r}; its words: {there}")
        return found

    def words(self, caption: str | Path, alignment: Mapping[str, Sequence[Spoken]] | None) -> Sequence[Spoken]:
        """Return the words of the part of a caption that the model reads; see :meth:`segments`."""
        if not self.written:
            return (alignment or {}).get(Path(caption).stem, ())
        written = words_of(str(caption))[: self.grounded.task.longest]
        return [Spoken(place, place + 1, word) for place, word in enumerate(written)]

    def _text(self, caption: str) -> Tensor:
        known = Words(self.grounded.task.state.words)
        return torch.tensor(known.encode(caption)[: self.grounded.task.longest])

    def _audio(self, path: str | Path) -> Tensor:
        cfg = self.grounded.task.cfg
        source = read_audio(path, cfg.sample_rate, False)[: cfg.max_sample_size]
        if len(source) < (least := shortest_input(self.grounded.model)):
            raise AudioError(absolute(path), f"too short: {len(source)} samples, one encoder frame needs {least}")
        return torch.nn.functional.layer_norm(source, source.shape) if cfg.normalize else source

    def _probabilities(self, coded: Any) -> Tensor:
        """Return (T, V) probabilities of the codes, of the only item of a batch."""
        distances = self._codes.book.distances(coded.features[0])
        found: Tensor = (-distances / self._codes.temperature).softmax(-1)
        return found.cpu()


def _touched(start: float, end: float, frames: int, length: float) -> range:
    """Return the frames that a segment touches; they divide the caption evenly."""
    rate = frames / length
    first = min(int(start * rate), frames - 1)
    return range(first, min(max(math.ceil(end * rate), first + 1), frames))
