"""The task ``parp_finetuning``: fairseq's training events in, calls of the core out."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II, OmegaConf

from fairseq_parp import compat
from fairseq_parp.architectures.convolutions import convolutions, shortest_input
from fairseq_parp.checkpoints.finetuned import require_encoder
from fairseq_parp.compat.no_eval import building
from fairseq_parp.decoding import CTCGenerator, LanguageModel, build_generator
from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.decoding.options import missing_mark
from fairseq_parp.decoding.validation import take_language_model, word_decoder
from fairseq_parp.errors import ConfigError, ManifestError, absolute, listing, one_line_errors
from fairseq_parp.manifests.checking import require, require_long_enough, unalignable
from fairseq_parp.mask_files.first import sources_of
from fairseq_parp.sparsity import Sources
from fairseq_parp.tasks._vocabulary import (
    dictionary_of_checkpoint,
    labels_of_checkpoint,
    read_dictionary,
    require_trained_alike,
)
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.identity import TrainingData
from fairseq_parp.training.life_cycle import PruningLifeCycle
from fairseq_parp.training.options import require_ctc, require_metric, require_updates
from fairseq_parp.training.precision import require_unsharded
from fairseq_parp.training.utterances import EveryUtterance, require_readable

logger = logging.getLogger(__name__)

compat.install()

TEXT_MAX_TOKENS = 12_000
"""What fairseq-generate assumes where no batch size is given: right for words, below a second of audio."""

MODEL_OVERRIDES = "--model-overrides \"{'w2v_path': 'FILE'}\""
"""How fairseq-generate is given another place of the pretrained file."""

SAFE_MAX_TOKENS = 1_280_000
"""Samples in a batch (80 s of 16 kHz audio) where fairseq-generate is given no batch size."""


@dataclass
class ParpFinetuningConfig(PruningFields, AudioFinetuningConfig):
    """fairseq's ``audio_finetuning``, one key more for training, one for validation and decoding, four for decoding."""

    stock_batches: bool = field(
        default=False,
        metadata={"help": "validate and decode as stock fairseq, where a batch's padding changes its utterances"},
    )

    # For fairseq-generate. Its own --lm-path is for models that fairseq trained, and its --lm-weight goes with that.
    # Optional, as fairseq makes no argument of "str | None".
    kenlm_model: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "n-gram LM: ARPA file, or a binary of KenLM, with a lexicon"}
    )
    kenlm_weight: float = field(default=2.0, metadata={"help": "weight of the LM's log10 probabilities"})
    word_score: float = field(default=-1.0, metadata={"help": "added for each word that is found with an LM"})
    lexicon: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "words and their spellings; by default all words of the LM, by their letters"}
    )

    # Read from another group of the config; not for users to set.
    path: Any = II("common_eval.path")  # noqa: RUF009 (a string)
    post_process: Any = II("common_eval.post_process")  # noqa: RUF009 (a string)


@register_task("parp_finetuning", dataclass=ParpFinetuningConfig)
class ParpFinetuningTask(PruningLifeCycle, AudioFinetuningTask):
    """CTC finetuning that prunes; decoding that does not."""

    cfg: ParpFinetuningConfig

    def __init__(self, cfg: ParpFinetuningConfig) -> None:
        super().__init__(cfg)
        self._train_split = ""
        self._batches: Any = None
        self._zero_infinity = False
        self._convolutions: list[tuple[int, int]] = []
        self._shortest = 1

    @classmethod
    def setup_task(cls, cfg: ParpFinetuningConfig, **kwargs: Any) -> "ParpFinetuningTask":
        """Make the task; where it decodes and no labels are named, the checkpoint's own are used."""
        with one_line_errors():
            if OmegaConf.is_missing(cfg, "data"):
                raise ConfigError("task.data", "???", "must be the folder of the manifests")
            require_unsharded(cfg)
            if cfg.path and not cfg.labels:
                cfg.labels = labels_of_checkpoint(cfg.path)
        with building():
            return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    def load_target_dictionary(self) -> Any:
        """Return the dictionary of the labels: the checkpoint's in decoding, that of the data in training."""
        with one_line_errors():
            folder = getattr(self.cfg, "target_dictionary", None) or self.cfg.data

            def read() -> Any:
                return read_dictionary(super(ParpFinetuningTask, self).load_target_dictionary, folder, self.cfg.labels)

            return dictionary_of_checkpoint(self.cfg.path, read) if self.cfg.path else read()

    # --- data -------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split, having checked that its files are there and fit together."""
        if "data_selector" in kwargs:  # only the trainer's loading of the training set says so
            self._train_split = split
        cfg = task_cfg or self.cfg
        with one_line_errors():
            if getattr(cfg, "multi_corpus_keys", None) is None and not getattr(cfg, "binarized_dataset", False):
                require(self.cfg.data, split, cfg.labels, symbols=list(self.target_dictionary.symbols))
                require_long_enough(self.cfg.data, split, self._shortest)
                if self._convolutions:
                    self._check_lengths(split, cfg.labels)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = EveryUtterance(self.datasets[split], f"{absolute(self.cfg.data)}/{split}.tsv")
        with one_line_errors():
            self.datasets[split].require_uncropped(self.cfg.max_sample_size)

    def _check_lengths(self, split: str, labels: str) -> None:
        """Find labels that CTC cannot align: an error, or a warning where ``criterion.zero_infinity`` passes over them.

        Raises:
            ManifestError: there are some, and each would make the loss infinite.
        """
        found = unalignable(self.cfg.data, split, labels, self._convolutions)
        if found and not self._zero_infinity:
            raise ManifestError(found)
        if found:
            logger.warning(f"{len(found)} utterance(s) train nothing, as criterion.zero_infinity says: {found[0]}")

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion; whether it passes over infinite losses decides what labels are allowed."""
        self._zero_infinity = bool(getattr(cfg, "zero_infinity", False))
        with one_line_errors():
            require_metric(self.cfg, cfg._name)
            cfg, lm = take_language_model(cfg)
            criterion = super().build_criterion(cfg, *args, **kwargs)
            given = getattr(criterion, "post_process", None)
            if mark := missing_mark(given, self.target_dictionary.symbols):
                logger.info(f"wer counts labels, as uer does: they have no {mark} for criterion.post_process={given}")
                criterion.post_process = "none"  # fairseq's default, letter, would join each line to one word
            if lm is not None:
                criterion.w2l_decoder = word_decoder(lm, self.target_dictionary)
        return criterion

    def get_batch_iterator(self, dataset: Any, max_tokens: int | None = None, **options: Any) -> Any:
        """Return fairseq's iterator; fairseq-generate's batch size for text becomes one for audio."""
        if self.cfg.path and max_tokens == TEXT_MAX_TOKENS:
            max_tokens = max(SAFE_MAX_TOKENS, int(dataset.sizes.max(initial=0)))
        with one_line_errors():
            batches = super().get_batch_iterator(dataset, max_tokens=max_tokens, **options)
            if dataset is self.datasets.get(self._train_split):
                require_updates(self.cfg, batches)
                self._batches = batches
            return batches

    def training_data(self) -> TrainingData | None:
        """Return what the run trains on, for its checkpoints; None where no training set was loaded."""
        if self._batches is None:
            return None
        return TrainingData.of(self.datasets[self._train_split], self._batches, self.cfg.seed)

    # --- training ---------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model; for training, note the convolutions, which decide how many labels CTC can align.

        A model with a decoder is refused: only CTC is supported.
        """
        with one_line_errors():
            require_ctc(model_cfg, training=not from_checkpoint)
        if from_checkpoint and self.cfg.path:
            with one_line_errors():
                require_encoder(model_cfg, self.cfg.path.split(":")[0], MODEL_OVERRIDES)
        model = super().build_model(model_cfg, from_checkpoint)
        self._shortest = max(self._shortest, shortest_input(model))
        if not from_checkpoint:
            self._convolutions = convolutions(model)
        return model

    def mask_sources(self, model: Any) -> Sources:
        """Return mask files and sparse checkpoints, and fresh weights of the pretrained encoder's shape."""
        return sources_of(model, self.cfg.seed)

    def train_step(self, sample: Any, *args: Any, **options: Any) -> Any:
        """Train on one micro-batch whose audio could be read."""
        with one_line_errors():
            require_readable(sample)
        return super().train_step(sample, *args, **options)

    def utterances(self, ids: list[int]) -> str:
        """Name utterances of the training set, by manifest, line and file."""
        train = self.datasets.get(self._train_split)
        return listing([train.origin(index) for index in ids] if train is not None else ids, most=4)

    # --- validation -------------------------------------------------------------------------------------------

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """Validate on one batch; the logging output counts blank frames."""
        with one_line_errors():
            require_readable(sample)
        alone = contextlib.nullcontext() if self.cfg.stock_batches else each_alone(model, sample["net_input"])
        with one_line_errors(), alone:
            loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        blank, frames = getattr(model, "blank_frames", (0, 0))  # fairseq's distributed wrappers pass it on
        return loss, sample_size, {**logging_output, "_blank_frames": blank, "_frames": frames}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log what fairseq logs, and the fraction of blank frames: near 1 the model says nothing yet."""
        super().reduce_metrics(logging_outputs, criterion)
        frames = sum(log.get("_frames", 0) for log in logging_outputs)
        if frames:
            blank = sum(log["_blank_frames"] for log in logging_outputs)
            metrics.log_scalar("blank", float(blank / frames), float(frames), round=4)

    # --- checkpoints ------------------------------------------------------------------------------------------

    def require_fitting(self, path: str, state: Mapping[str, Any]) -> None:
        """Compare the labels and the audio settings of a checkpoint with those of the training that starts from it."""
        require_trained_alike(self.cfg, self.target_dictionary, path, state)

    # --- decoding ---------------------------------------------------------------------------------------------

    def build_generator(self, _models: Any, args: Any, **_unused: Any) -> CTCGenerator:
        """Return the CTC decoder that fairseq-generate calls: greedy for ``--beam 1``, else a beam search."""
        cfg = self.cfg
        with one_line_errors():
            if mark := missing_mark(cfg.post_process, self.target_dictionary.symbols):
                allowed = f"the labels have no word boundary {mark}, so symbols would run together; leave it out"
                raise ConfigError("post_process", cfg.post_process, allowed)
            lm = LanguageModel.if_named(cfg.kenlm_model, cfg.lexicon, cfg.kenlm_weight, cfg.word_score)
            return build_generator(self.target_dictionary, args, lm, cfg.stock_batches)

    def inference_step(
        self, generator: Any, models: Any, sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Decode one batch."""
        with one_line_errors():
            require_readable(sample)
            return super().inference_step(generator, models, sample, prefix_tokens, constraints)
