"""Labels of audio files, and of a data folder's split, from a classifier of utterances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.classification.registry import Prediction
from fairseq_parp.errors import AudioError, CheckpointError, ManifestError, ParpError, absolute
from fairseq_parp.manifests.checking import require, require_one_each
from fairseq_parp.manifests.reading import locate, read_labels, read_manifest
from fairseq_parp.transcription.encoding import encoded
from fairseq_parp.transcription.loading import load_finetuned


class AudioClassifier:
    """A classifier of utterances; files of any rate and format are read one at a time.

    The label comes from the mean over all frames. Files of more than 40 s are encoded in windows that overlap.

    Attributes:
        labels: all that it can give, in the order of its outputs.
    """

    def __init__(self, path: str | Path, overrides: Mapping[str, str]) -> None:
        """Load a checkpoint, to run on a GPU if there is one.

        Raises:
            CheckpointError: the file cannot be loaded.
            ConfigError: an override of no key.
        """
        self._loaded = load_finetuned(path, None, overrides, classifier=True)
        self._model: Any = self._loaded.model
        if not hasattr(self._model, "pooling_layer"):
            raise CheckpointError(absolute(path), f"holds a {type(self._model).__name__}, which does not classify")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device)
        self.labels: Sequence[str] = list(self._loaded.dictionary.symbols)

    def classify(self, inputs: Sequence[str]) -> Iterator[Prediction | ParpError]:
        """Yield the label of each file, or the error of one that cannot be read."""
        for path in inputs:
            try:
                yield self._prediction(path, path)
            except AudioError as error:
                yield error

    def classify_split(self, data: str, split: str) -> Iterator[Prediction]:
        """Yield the label of each utterance of a split, with its true label.

        Raises:
            ManifestError: the split cannot be used, or has labels that the model does not know.
            AudioError: a file cannot be read.
        """
        kind = self._loaded.labels
        require(data, split, kind, symbols=self.labels)
        require_one_each(data, split, kind)
        manifest, labels = read_manifest(Path(data) / f"{split}.tsv"), read_labels(Path(data) / f"{split}.{kind}")
        for entry, label in zip(manifest.entries, labels.lines, strict=True):
            at = locate(manifest.root, entry.path)
            if at.offset is not None:
                raise ManifestError([f"{manifest.file}:{entry.line}: audio inside of a zip; unpack it to classify it"])
            yield self._prediction(entry.path, at.file, label.strip())

    def probabilities(self, path: str | Path) -> Tensor:
        """Return the probabilities of all labels for one file, (labels,), in main memory.

        Raises:
            AudioError: the file is missing or unreadable, or shorter than the model's first frame.
        """

        def frames(source: Tensor) -> Tensor:
            output: dict[str, Tensor] = self._model.w2v_encoder(source=source.to(self._device), padding_mask=None)
            return output["encoder_out"][:, 0]

        features = encoded(path, self._loaded, frames)[:, None]
        with torch.no_grad():
            logits: Tensor = self._model.pooling_layer(last_layer_feats=features, padding_mask=None)[0]
        return logits.float().softmax(-1).cpu()

    def _prediction(self, name: str, path: str, true: str | None = None) -> Prediction:
        probability, best = self.probabilities(path).max(-1)
        if probability.isnan():
            raise ParpError(f"{absolute(path)}: the model's output is NaN")
        return Prediction(name, self.labels[int(best)], float(probability), true)


load = AudioClassifier
