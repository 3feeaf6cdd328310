"""Identifies the training data by a few values. A resumed run compares them before it continues in the epoch."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fairseq_parp.errors import ResumeError

logger = logging.getLogger(__name__)

ANEW = "checkpoint.reset_dataloader=true continues with these from the start of epoch 1"


class TrainingData(NamedTuple):
    """The training set and its batches.

    Attributes:
        utterances: their number.
        content: digest of their paths, lengths and labels.
        batches: number of batches of the present epoch, over all ranks.
        batching: digest of the utterances in each batch.
        ranks: number of processes that share the batches.
        seed: seed of the batches' order.
    """

    utterances: int
    content: str
    batches: int
    batching: str
    ranks: int
    seed: int

    @classmethod
    def of(cls, dataset: Any, iterator: Any, seed: int) -> TrainingData:
        """Describe a training set, an ``EveryUtterance``, and fairseq's iterator over its batches."""
        batches = iterator.frozen_batches
        lines = [",".join(map(str, batch)) for batch in batches]
        if getattr(iterator, "grouped_shuffling", False):  # another order of the same batches
            lines.append("grouped_shuffling")
        batching = digest(lines)
        return cls(len(dataset), dataset.digest, len(batches), batching, iterator.num_shards, seed)

    def require_same(self, saved: Mapping[str, Any], epoch: int, done: int) -> None:
        """Compare with the data of the checkpoint's run.

        Args:
            saved: values of that run, as :meth:`_asdict` returns them.
            epoch, done: epoch, and number of its batches that each rank has trained on. At the start of an epoch
                batches, ranks and seed may differ, because no position among them is restored.

        Raises:
            ResumeError: other utterances; or other batches, in the middle of an epoch.
        """
        was = TrainingData(**saved)
        if was.content != self.content:
            other = "" if was.utterances != self.utterances else " (paths, lengths or labels differ)"
            asked = f"{self.utterances} utterances{other}"
            raise ResumeError("task.data", f"{was.utterances} utterances", asked, ANEW)
        if not done:
            return
        place = f"{ANEW} (it stopped in epoch {epoch} after {done} batches)"
        if was.ranks != self.ranks:
            raise ResumeError("distributed_training.distributed_world_size", was.ranks, self.ranks, place)
        if was.seed != self.seed:
            raise ResumeError("common.seed", was.seed, self.seed, place)
        if was.batching != self.batching:
            batches = (f"{was.batches} batches an epoch", f"{self.batches} other ones")
            raise ResumeError("dataset (max_tokens, batch_size, grouped_shuffling, ...)", *batches, place)


def batches_from(
    trainer: Any, position: Mapping[str, Any] | None, saved: Mapping[str, Any] | None, **options: Any
) -> Any:
    """Return fairseq's iterator over the training batches, at a checkpoint's place among them.

    Args:
        trainer: fairseq's, with a task that has ``training_data()``.
        position: the checkpoint's ``train_iterator``; None starts epoch 1.
        saved: the training data of its run; None if the checkpoint does not name them.
        options: arguments of the trainer's ``get_train_iterator``.

    Raises:
        ResumeError: the run trained on other data, or the epoch has no such place.
    """
    epoch, done = (1, 0) if position is None else (position["epoch"], position.get("iterations_in_epoch", 0))
    # Batches that are kept for all epochs depend on the epoch for which they are made: which of two utterances of one
    # length comes first is drawn. An uninterrupted run makes them for the first one.
    each_epoch = getattr(trainer.task.cfg, "rebuild_batches", False) or options.get("disable_iterator_cache")
    each_epoch = each_epoch or getattr(trainer.cfg.dataset, "update_epoch_batch_itr", False)
    batches = trainer.get_train_iterator(epoch=epoch if each_epoch else 1, load_dataset=True, **options)
    if position is None:
        return batches
    data = trainer.task.training_data()
    if data is not None and saved is not None:
        data.require_same(saved, epoch, done)
    elif data is not None:
        logger.warning("the checkpoint does not name the data of its run, so that they could not be compared")
    if done and done >= len(batches):
        raise ResumeError("task.data", f"{done} batches and more", f"{len(batches)} an epoch", ANEW)
    batches.load_state_dict(position)
    return batches


def digest(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines."""
    taken = hashlib.sha256()
    for line in lines:
        taken.update(f"{line}\n".encode())
    return taken.hexdigest()
