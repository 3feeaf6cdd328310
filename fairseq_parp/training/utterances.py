"""Every utterance counts: batches leave none out, and audio is compared with its manifest."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset
from torch import Tensor

from fairseq_parp.errors import AudioError, ConfigError, one_line_errors
from fairseq_parp.training.identity import digest


class EveryUtterance(BaseWrapperDataset):
    """A dataset whose batches hold every index they are made from.

    fairseq-fixed 0.12.3.1 and main of 2025-09 silently drop the last batch where its size does not divide by
    ``dataset.required_batch_size_multiple`` (8 by default): five of five utterances, 5 of 36. 0.12.2 does not.
    """

    item, unit = "utterance", "samples"
    """Name of an example, and unit of its length, in messages."""

    def __init__(self, dataset: Any, manifest: str = "the manifest") -> None:
        super().__init__(dataset)
        self.manifest = manifest
        self._audio = getattr(dataset, "dataset", dataset)
        if hasattr(self._audio, "postprocess"):
            self._audio.postprocess = functools.partial(_checked, self._audio)

    def origin(self, index: int) -> str:
        """Return where utterance ``index`` stands: manifest and line, and the audio file's path in it."""
        names: Any = getattr(self._audio, "fnames", None)
        skipped: set[int] = getattr(self._audio, "skipped_indices", set())
        if names is None or len(names) <= index:
            return f"utterance {index}"
        kept = (line for line in itertools.count() if line not in skipped)
        line = next(itertools.islice(kept, int(index), None)) + 2
        return f"{self.manifest}:{line} ({self.path(index)})"

    @functools.cached_property
    def digest(self) -> str:
        """A digest of every utterance's path, length and labels, as far as the dataset knows them."""
        return digest(self._described())

    def _described(self) -> Iterator[str]:
        names, labels = getattr(self._audio, "fnames", None), getattr(self.dataset, "get_label", None)
        for index in range(len(self)):
            name = "" if names is None else self.path(index)
            yield f"{name}\t{self.num_tokens(index)}\t{'' if labels is None else labels(index).strip()}"

    def path(self, index: int) -> str:
        """Return the path of an utterance's audio, as the manifest has it."""
        name = self._audio.fnames[index]
        return str(self._audio.text_compressor.decompress(name if isinstance(name, (str, bytes)) else name.as_py()))

    def __getitem__(self, index: int) -> Any:
        """Return an utterance, or :class:`Unreadable` if it cannot be read.

        An exception would arrive from a worker process as a traceback in another exception's text.
        """
        try:
            utterance = self.dataset[index]
            _require_length(utterance["source"], self.num_tokens(index))
            return utterance
        except Exception as error:  # libsndfile and fairseq raise various exceptions
            return Unreadable(int(index), f"{self.origin(index)}: {error}")

    def collater(self, samples: list[Any]) -> Any:
        """Collate a batch; one with an unreadable utterance holds nothing but the reason."""
        bad = [sample for sample in samples if isinstance(sample, Unreadable)]
        if not bad:
            return self.dataset.collater(samples)
        return {"id": torch.tensor([bad[0].utterance]), "net_input": {}, "unreadable": bad[0].reason}

    def batch_by_size(
        self,
        indices: Any,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        required_batch_size_multiple: int = 1,
    ) -> list[Any]:
        """Return fairseq's batches of ``indices``, followed by the one that it dropped.

        Raises:
            ConfigError: an utterance alone exceeds ``max_tokens``.
        """
        if len(indices) == 0:
            return []
        with one_line_errors():
            self._require_room(indices, max_tokens)
        batches = list(self.dataset.batch_by_size(indices, max_tokens, max_sentences, required_batch_size_multiple))
        dropped = np.asarray(indices)[sum(len(batch) for batch in batches) :]
        return [*batches, dropped] if len(dropped) else batches

    def require_uncropped(self, most: int | None) -> None:
        """Check that fairseq crops no utterance: it would cut the audio at a random place and keep all labels.

        Args:
            most: samples that fairseq leaves of an utterance (``task.max_sample_size``); None leaves all.

        Raises:
            ConfigError: an utterance is longer.
        """
        sizes = [self.num_tokens(index) for index in range(len(self))] if most is not None else []
        longer = [index for index, size in enumerate(sizes) if most is not None and size > most]
        if longer:
            longest = max(longer, key=sizes.__getitem__)
            allowed = (
                f"{len(longer)} utterance(s) of {len(sizes)} are longer, up to {sizes[longest]} samples "
                f"({self.origin(longest)}): their audio would be cropped under whole labels; give at least as many, "
                "or leave these out of the manifest"
            )
            raise ConfigError("task.max_sample_size", most, allowed)

    def filter_indices_by_size(self, indices: Any, max_sizes: Any) -> tuple[Any, Any]:
        """Return the indices of examples that have room in a batch, and of those that fairseq passes over in training.

        Raises:
            ConfigError: none has room; fairseq would end in a traceback.
        """
        kept, passed_over = super().filter_indices_by_size(indices, max_sizes)
        if len(passed_over) and not len(kept):
            with one_line_errors():
                self._require_room(indices, min(max_sizes) if isinstance(max_sizes, tuple) else max_sizes)
        return kept, passed_over

    def _require_room(self, indices: Any, max_tokens: int | None) -> None:
        longest = max(indices, key=self.num_tokens)
        size = self.num_tokens(longest)
        if max_tokens is not None and size > max_tokens:
            where = self.origin(longest)
            allowed = (
                f"the longest {self.item} has {size} {self.unit} ({where}); give at least as many, or leave it out"
            )
            raise ConfigError("max_tokens", max_tokens, allowed)


class Unreadable(NamedTuple):
    """An utterance that cannot be read, and why."""

    utterance: int
    reason: str


def require_readable(sample: Any) -> None:
    """Check a batch from :class:`EveryUtterance`, in the process and at the place where an error can end the run.

    Raises:
        AudioError: an utterance in it could not be read.
    """
    if isinstance(sample, dict) and "unreadable" in sample:
        where, _, reason = sample["unreadable"].partition(": ")
        raise AudioError(where, reason)


def _require_length(source: Tensor, frames: int) -> None:
    """Compare audio with its manifest, by whose lengths batches are made and labels are found to fit."""
    if len(source) != frames:
        raise ValueError(
            f"{frames} frames in the manifest, {len(source)} in the audio; build the manifest anew "
            "(fairseq-parp manifest check shows all that differ)"
        )


def _checked(audio: Any, source: Tensor, rate: int) -> Tensor:
    """Check that audio is mono and finite, then postprocess: fairseq's method averages channels and accepts NaN."""
    if source.dim() != 1:
        raise ValueError(f"{source.shape[-1]} channels; mono is needed")
    if not len(source):
        raise ValueError("no audio in it, 0 frames")
    if not torch.isfinite(source).all():
        raise ValueError("has NaN or infinite samples")
    if rate != audio.sample_rate:
        raise ValueError(f"{rate} Hz; {audio.sample_rate} Hz is needed, and nothing is resampled silently")
    processed: Tensor = type(audio).postprocess(audio, source, rate)
    return processed
