"""Finds the classifier for a checkpoint by the name of its task: one module for each kind of input."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from fairseq_parp import checkpoints
from fairseq_parp.checkpoints.finetuned import task_of
from fairseq_parp.errors import CheckpointError, ParpError, absolute

CLASSIFIERS = {
    "audio_classification": "fairseq_parp.classification.audio",
    "parp_audio_classification": "fairseq_parp.classification.audio",
    "parp_sentence_prediction": "fairseq_parp.classification.text",
    "sentence_prediction": "fairseq_parp.classification.text",
}
"""Task in the checkpoint, and the module whose ``load(path, overrides)`` returns its :class:`Classifier`."""


class Prediction(NamedTuple):
    """The most probable label of one input.

    Attributes:
        item: the input: a file, or ``FILE:LINE``.
        label: label of the highest probability.
        probability: probability of that label, within 0 to 1.
        true: the label in the data, or None.
    """

    item: str
    label: str
    probability: float
    true: str | None = None


class Classifier(Protocol):
    """A finetuned model that gives labels.

    Attributes:
        labels: all that it can give, in the order of its outputs.
    """

    labels: Sequence[str]

    def classify(self, inputs: Sequence[str]) -> Iterator[Prediction | ParpError]:
        """Yield the prediction for each input, or the error that names an input that cannot be read."""
        ...

    def classify_split(self, data: str, split: str) -> Iterator[Prediction]:
        """Yield the prediction for each example of a data folder's split, with its true label.

        Raises:
            ParpError: the split cannot be used.
        """
        ...


def load_classifier(path: str | Path, overrides: Mapping[str, str] | None = None) -> Classifier:
    """Load the classifier that a checkpoint holds.

    Args:
        path: path of the checkpoint.
        overrides: new values by key of the checkpoint's config, such as ``model.w2v_path``, values as text.

    Raises:
        CheckpointError: the file cannot be read, or holds no classifier.
    """
    task = task_of(checkpoints.read(path))
    if task not in CLASSIFIERS:
        reason = f"its task is {task}, which gives no labels" if task else "names no task"
        way_out = "fairseq-parp transcribe prints the text of a CTC model"
        raise CheckpointError(absolute(path), f"{reason}; {way_out}")
    classifier: Classifier = importlib.import_module(CLASSIFIERS[task]).load(path, overrides or {})
    return classifier
