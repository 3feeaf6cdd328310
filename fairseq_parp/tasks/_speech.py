"""The common part of the tasks on labelled speech: checked manifests, every utterance, batches of audio, decoding."""

import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.checkpoints.finetuned import require_encoder
from fairseq_parp.checkpoints.fitting import SETTINGS, kind_of
from fairseq_parp.errors import CheckpointError, ConfigError, absolute, one_line_errors
from fairseq_parp.manifests.checking import require, require_long_enough
from fairseq_parp.mask_files.first import sources_of
from fairseq_parp.sparsity import Sources
from fairseq_parp.tasks._vocabulary import (
    dictionary_of_checkpoint,
    labels_of_checkpoint,
    read_dictionary,
    require_trained_alike,
)
from fairseq_parp.training.life_cycle import PruningLifeCycle
from fairseq_parp.training.precision import require_unsharded
from fairseq_parp.training.training_set import TrainingSet
from fairseq_parp.training.utterances import EveryUtterance, require_readable

logger = logging.getLogger(__name__)

TEXT_MAX_TOKENS = 12_000
"""Default batch of fairseq-generate: right for words, below a second of audio."""

MODEL_OVERRIDES = "--model-overrides \"{'w2v_path': 'FILE'}\""
"""How fairseq-generate is given another place of the pretrained file."""

SAFE_MAX_TOKENS = 1_280_000
"""Samples in a batch (80 s of 16 kHz audio) where fairseq-generate is given no batch size."""


class SpeechTask(TrainingSet, PruningLifeCycle):
    """Stands before one of fairseq's tasks on manifests of audio with labels, whose config has ``path``."""

    target_dictionary: Any

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self._shortest = 1

    @classmethod
    def prepare(cls, cfg: Any) -> None:
        """Check the config of a task that is to be made; where it decodes and names no labels, name the checkpoint's.

        Raises:
            ConfigError: no data or no labels are named, only a part of the audio is taken, or the training is sharded.
        """
        if OmegaConf.is_missing(cfg, "data"):
            raise ConfigError("task.data", "???", "must be the folder of the manifests")
        require_unsharded(cfg)
        if cfg.path and not cfg.labels:
            cfg.labels = labels_of_checkpoint(cfg.path)
        if not cfg.labels:
            raise ConfigError("task.labels", cfg.labels, "must name the files of the labels, such as ltr for train.ltr")
        if (part := getattr(cfg, "subsample", 1)) < 1:
            way_out = "fairseq-parp manifest table --minutes takes a part of both"
            raise ConfigError("task.subsample", part, f"takes a part of the audio and keeps all labels; {way_out}")

    def load_target_dictionary(self) -> Any:
        """Return the dictionary of the labels: the checkpoint's in decoding, that of the data in training."""
        with one_line_errors():
            folder = getattr(self.cfg, "target_dictionary", None) or self.cfg.data

            def read() -> Any:
                return read_dictionary(super(SpeechTask, self).load_target_dictionary, folder, self.cfg.labels)  # type: ignore[misc]

            return dictionary_of_checkpoint(self.cfg.path, read) if self.cfg.path else read()

    # --- data -------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split, having checked that its files are there and fit together."""
        training = self.note_split(split, kwargs)
        task_cfg = self._as_own(task_cfg)
        cfg = task_cfg or self.cfg
        with one_line_errors():
            if not getattr(cfg, "labels", None):
                path = absolute(self.cfg.path.split(":")[0])
                raise CheckpointError(path, "was not finetuned on labels, so it cannot be decoded")
            if getattr(cfg, "multi_corpus_keys", None) is None and not getattr(cfg, "binarized_dataset", False):
                require(self.cfg.data, split, cfg.labels, symbols=list(self.target_dictionary.symbols))
                require_long_enough(self.cfg.data, split, self._shortest)
                self.require_labels(split, cfg.labels, training)
        super().load_dataset(split, task_cfg, **kwargs)  # type: ignore[misc]
        self.datasets[split] = EveryUtterance(self.datasets[split], f"{absolute(self.cfg.data)}/{split}.tsv")
        with one_line_errors():
            self.datasets[split].require_uncropped(self.cfg.max_sample_size)

    def _as_own(self, saved: Any) -> Any:
        """Return a checkpoint's config of its task as this one reads it: HuBERT's lists its labels and lacks keys."""
        labels = getattr(saved, "labels", None)
        if labels is None or isinstance(labels, str):
            return saved
        own = OmegaConf.create(OmegaConf.to_container(self.cfg, resolve=True))
        own.update({key: kind_of(saved[key]) for key in SETTINGS if key in saved})
        return own

    def require_labels(self, split: str, labels: str, training: bool) -> None:
        """Check this task's own requirements on a split's labels; their symbols are known.

        Args:
            split: name of the split.
            labels: kind of the labels.
            training: whether the model trains on the split.

        Raises:
            ManifestError: the task cannot train on them.
        """

    def get_batch_iterator(self, dataset: Any, max_tokens: int | None = None, **options: Any) -> Any:
        """Return fairseq's iterator; fairseq-generate's batch size for text becomes one for audio."""
        if self.cfg.path and max_tokens == TEXT_MAX_TOKENS:
            max_tokens = max(SAFE_MAX_TOKENS, int(dataset.sizes.max(initial=0)))
        return super().get_batch_iterator(dataset, max_tokens=max_tokens, **options)

    # --- training ---------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model, having checked that its pretrained encoder can be built."""
        if from_checkpoint and self.cfg.path:
            with one_line_errors():
                require_encoder(model_cfg, self.cfg.path.split(":")[0], MODEL_OVERRIDES)
        model = super().build_model(model_cfg, from_checkpoint)
        self._shortest = max(self._shortest, shortest_input(model))
        return model

    def mask_sources(self, model: Any) -> Sources:
        """Return mask files and sparse checkpoints, and fresh weights of the pretrained encoder's shape."""
        return sources_of(lambda: model.cfg.w2v_args, self.cfg.seed)

    def train_step(self, sample: Any, *args: Any, **options: Any) -> Any:
        """Train on one micro-batch whose audio could be read."""
        with one_line_errors():
            require_readable(sample)
        return super().train_step(sample, *args, **options)

    def require_fitting(self, path: str, state: Mapping[str, Any]) -> None:
        """Compare the labels and the audio settings of a checkpoint with those of the training that starts from it."""
        require_trained_alike(self.cfg, self.target_dictionary, path, state)

    # --- decoding ---------------------------------------------------------------------------------------------

    def inference_step(
        self, generator: Any, models: Any, sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Decode one batch."""
        with one_line_errors():
            require_readable(sample)
            return super().inference_step(generator, models, sample, prefix_tokens, constraints)  # type: ignore[misc]
