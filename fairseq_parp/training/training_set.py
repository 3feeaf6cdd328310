"""The training set of a task whose datasets name their examples: for messages and for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairseq_parp.errors import listing, one_line_errors
from fairseq_parp.training.identity import TrainingData
from fairseq_parp.training.options import require_updates


class TrainingSet:
    """Stands before :class:`~fairseq_parp.training.life_cycle.PruningLifeCycle` among the bases of a task.

    The datasets are :class:`~fairseq_parp.training.utterances.EveryUtterance`, or extend it.
    """

    cfg: Any
    datasets: dict[str, Any]
    _train_split = ""
    _batches: Any = None

    def note_split(self, split: str, options: Mapping[str, Any]) -> bool:
        """Return whether a split is being loaded to train on, and note it: only the trainer gives a ``data_selector``.

        Args:
            split: name of it.
            options: options of fairseq's ``load_dataset``.
        """
        if "data_selector" in options:
            self._train_split = split
        return "data_selector" in options

    def get_batch_iterator(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """Return fairseq's iterator; that of the training set is noted for :meth:`training_data`."""
        with one_line_errors():
            batches = super().get_batch_iterator(dataset, *args, **options)  # type: ignore[misc]
            if self.is_trained_on(dataset):
                require_updates(self.cfg, batches)
                self._batches = batches
            return batches

    def is_trained_on(self, dataset: Any) -> bool:
        """Return whether a dataset is the training set."""
        return dataset is self.datasets.get(self._train_split)

    def training_data(self) -> TrainingData | None:
        """Return the identity of the training data for checkpoints; None if no training set was loaded."""
        if self._batches is None:
            return None
        return TrainingData.of(self.datasets[self._train_split], self._batches, self.cfg.seed)

    def utterances(self, ids: list[int]) -> str:
        """Name examples of the training set, each by its place in the data."""
        train = self.datasets.get(self._train_split)
        return listing([train.origin(index) for index in ids] if train is not None else ids, most=4)
