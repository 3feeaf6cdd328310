"""The task ``parp_finetuning``: fairseq's training events in, calls of the core out."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II, OmegaConf
from torch import distributed

from fairseq_parp import compat
from fairseq_parp.data.every_utterance import EveryUtterance, require_readable
from fairseq_parp.decoding import CTCGenerator, LanguageModel, build_generator
from fairseq_parp.errors import ConfigError, LossError, ManifestError, MaskError, WeightsError, absolute, listing
from fairseq_parp.glue import convolutions, one_line_errors, unwrapped
from fairseq_parp.manifests.checking import require, unalignable
from fairseq_parp.mask_files.first import first_mask
from fairseq_parp.memory import peak_megabytes
from fairseq_parp.optim.masters import loss_scale, master_weights, overflowed, restore, state_of
from fairseq_parp.randomness import derived
from fairseq_parp.ranks import rank, require_same_mask
from fairseq_parp.sparsity import Pruner, PruningConfig
from fairseq_parp.tasks._messages import (
    VanishedWarning,
    log_into,
    log_pruning,
    say_if_short_of_the_ramp,
    warn_if_frozen,
)
from fairseq_parp.tasks._precision import masters_after_resume, name_of, require_supported, require_unsharded
from fairseq_parp.tasks._vocabulary import dictionary_of_checkpoint, labels_of_checkpoint, read_dictionary

logger = logging.getLogger(__name__)

compat.install()

TEXT_MAX_TOKENS = 12_000
"""What fairseq-generate assumes where no batch size is given: right for words, below a second of audio."""

SAFE_MAX_TOKENS = 1_280_000
"""Samples in a batch (80 s of 16 kHz audio) where fairseq-generate is given no batch size."""


@dataclass
class ParpFinetuningConfig(AudioFinetuningConfig):
    """fairseq's ``audio_finetuning``, one key more for training and four for decoding."""

    # Any, not a nested dataclass: omegaconf would refuse a misspelt key inside fairseq's start-up, with a traceback.
    pruning: Any = None

    # For fairseq-generate. Its own --lm-path is for models that fairseq trained, and its --lm-weight goes with that.
    # Optional, as fairseq makes no argument of "str | None".
    kenlm_model: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "n-gram LM: ARPA file, or a binary of KenLM"}
    )
    kenlm_weight: float = field(default=2.0, metadata={"help": "weight of the LM's log10 probabilities"})
    word_score: float = field(default=-1.0, metadata={"help": "added for each word that is found with an LM"})
    lexicon: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "words and their spellings; by default all words of the LM, by their letters"}
    )

    # What the run is like, read from the other groups of the config; not for users to set.
    max_update: Any = II("optimization.max_update")  # noqa: RUF009 (a string)
    seed: Any = II("common.seed")  # noqa: RUF009 (a string)
    path: Any = II("common_eval.path")  # noqa: RUF009 (a string)
    save_dir: Any = II("checkpoint.save_dir")  # noqa: RUF009 (a string)
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    cpu: bool = II("common.cpu")
    fp16_no_flatten_grads: bool = II("common.fp16_no_flatten_grads")
    memory_efficient_fp16: bool = II("common.memory_efficient_fp16")
    ddp_backend: str = II("distributed_training.ddp_backend")
    no_save_optimizer_state: bool = II("checkpoint.no_save_optimizer_state")
    store_ema: bool = II("ema.store_ema")


@register_task("parp_finetuning", dataclass=ParpFinetuningConfig)
class ParpFinetuningTask(AudioFinetuningTask):
    """CTC finetuning that prunes; decoding that does not."""

    cfg: ParpFinetuningConfig

    def __init__(self, cfg: ParpFinetuningConfig) -> None:
        super().__init__(cfg)
        self.pruner: Pruner | None = None
        self._updates = 0
        self._begun = False
        self._micro_batch = (-1, 0)
        self._train_split = ""
        self._zero_infinity = False
        self._convolutions: list[tuple[int, int]] = []
        self.bad_loss: LossError | None = None
        self._vanished = VanishedWarning()
        self._optimizer: Any = None
        self._saved: Mapping[str, Any] | None = None

    @classmethod
    def setup_task(cls, cfg: ParpFinetuningConfig, **kwargs: Any) -> "ParpFinetuningTask":
        """Make the task; where it decodes and no labels are named, the checkpoint's own are used."""
        with one_line_errors():
            if OmegaConf.is_missing(cfg, "data"):
                raise ConfigError("task.data", "???", "must be the folder of the manifests")
            require_unsharded(cfg)
            if cfg.path and not cfg.labels:
                cfg.labels = labels_of_checkpoint(cfg.path)
        return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    def load_target_dictionary(self) -> Any:
        """Return the dictionary of the labels: the checkpoint's in decoding, that of the data in training."""
        with one_line_errors():
            if self.cfg.path:
                return dictionary_of_checkpoint(self.cfg.path)
            folder = getattr(self.cfg, "target_dictionary", None) or self.cfg.data
            return read_dictionary(super().load_target_dictionary, folder, self.cfg.labels)

    # --- data -------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split, having checked that its files are there and fit together."""
        if "data_selector" in kwargs:  # only the trainer's loading of the training set says so
            self._train_split = split
        cfg = task_cfg or self.cfg
        with one_line_errors():
            if getattr(cfg, "multi_corpus_keys", None) is None and not getattr(cfg, "binarized_dataset", False):
                require(self.cfg.data, split, cfg.labels, symbols=list(self.target_dictionary.symbols))
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
        return super().build_criterion(cfg, *args, **kwargs)

    def get_batch_iterator(self, dataset: Any, max_tokens: int | None = None, **options: Any) -> Any:
        """Return fairseq's iterator; fairseq-generate's batch size for text becomes one for audio."""
        if self.cfg.path and max_tokens == TEXT_MAX_TOKENS:
            max_tokens = max(SAFE_MAX_TOKENS, int(dataset.sizes.max(initial=0)))
        with one_line_errors():
            return super().get_batch_iterator(dataset, max_tokens=max_tokens, **options)

    # --- training ---------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model and, for training, its pruner."""
        with one_line_errors():
            if from_checkpoint:
                return super().build_model(model_cfg, from_checkpoint)
            pruning = PruningConfig.read(_plain(self.cfg.pruning))
            require_supported(self.cfg)
            if rank() == 0:
                log_into(self.cfg.save_dir)
            model = super().build_model(model_cfg, from_checkpoint)
            self._convolutions = convolutions(model)
            last_update = int(self.cfg.max_update or 0) or None
            mask = first_mask(pruning, model, last_update, self.cfg.seed)
            self.pruner = Pruner.of_model(model, pruning, last_update, mask)
            logger.info(f"pruning {len(self.pruner.targets)} tensors, {self.pruner.size:,} weights: {pruning}")
            warn_if_frozen(model_cfg, self.pruner)
            # Whoever asks for the weights to save them, crash.pt included, gets the sparse model.
            model.register_state_dict_pre_hook(lambda *_: self._show_sparse_or_warn())
            return model

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """End a repeated command that has nothing left to train: fairseq would train one update more."""
        super().begin_epoch(epoch, model)
        if not self._begun and self.cfg.max_update and self._updates >= self.cfg.max_update:
            logger.info(f"the checkpoint has all {self._updates} updates; nothing is left to train")
            raise SystemExit(0)

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """Train on one micro-batch, on the weights as training left them, with randomness that a resume repeats."""
        with one_line_errors():
            require_readable(sample)
            self._show_dense(optimizer, update_num)
        seen, index = self._micro_batch
        self._micro_batch = (update_num, index + 1 if seen == update_num else 0)
        with derived(self.cfg.seed, update_num, self._micro_batch[1], rank()):
            done = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        self._require_number(float(done[0].detach()), sample, update_num + 1)
        if self.pruner is not None:
            self.pruner.mask_gradients()
        return done

    def _require_number(self, loss: float, sample: Any, update: int) -> None:
        """Stop at a loss that is NaN: at once where this rank is alone, else where all ranks see it."""
        if not math.isnan(loss):
            return
        where = self.utterances(sample["id"].tolist() if "id" in sample else [])
        self.bad_loss = LossError(f"the loss of update {update} is NaN; its utterances: {where}")
        if not distributed.is_initialized():
            with one_line_errors():
                raise self.bad_loss

    def utterances(self, ids: list[int]) -> str:
        """Name utterances of the training set, by manifest, line and file."""
        train = self.datasets.get(self._train_split)
        return listing([train.origin(index) for index in ids] if train is not None else ids, most=4)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Take the optimizer's step, then re-prune if it is time. An AMP step that overflowed is none."""
        scale = loss_scale(optimizer)
        super().optimizer_step(optimizer, model, update_num)
        if overflowed(optimizer, scale):
            return
        self._updates = update_num + 1
        if self.pruner is not None:
            with one_line_errors():
                if self.pruner.step(self._updates):
                    require_same_mask(self.pruner)
                    self._vanished.tell(self.pruner)
            log_pruning(self.pruner)

    def _show_dense(self, optimizer: Any, update_num: int) -> None:
        if self.pruner is None:
            return
        if self._begun:
            self.pruner.make_dense()
            return
        self._begun = True
        self._optimizer = optimizer
        named = {name: target.weight for name, target in self.pruner.targets.items()}
        self.pruner.attach(master_weights(optimizer, named))
        self.pruner.make_dense()
        if self._saved is not None:
            self._resume_optimizer(self._saved)
        report = self.pruner.begin(update_num)
        if report is not None:
            require_same_mask(self.pruner)
            logger.info(f"first mask: {report.zeros:,} zeros among {report.size:,} weights")
            self._vanished.tell(self.pruner)

    def _resume_optimizer(self, saved: Mapping[str, Any]) -> None:
        restored = restore(self._optimizer, saved["optimizer"])
        was, now = saved["precision"], name_of(self.cfg)
        if was != now:
            logger.info(f"trained in {was} so far, in {now} from here on: {masters_after_resume(now, restored)}")
        self._saved = None

    def _show_sparse(self) -> None:
        if self.pruner is not None and self.pruner.mask is not None:
            self.pruner.make_sparse(self._updates)

    def _show_sparse_or_warn(self) -> None:
        """For crash.pt: weights that are not finite must not hide the error that the run ended with."""
        try:
            self._show_sparse()
        except WeightsError as error:
            logger.warning(f"saving the weights as they are: {error}")

    # --- validation and checkpoints ---------------------------------------------------------------------------

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Validate the sparse model, whatever the cadence."""
        super().begin_valid_epoch(epoch, model)
        with one_line_errors():
            self._show_sparse()

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """Validate on one batch; the logging output counts blank frames."""
        with one_line_errors():
            require_readable(sample)
        loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        blank, frames = getattr(unwrapped(model), "blank_frames", (0, 0))
        return loss, sample_size, {**logging_output, "_blank_frames": blank, "_frames": frames}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log what fairseq logs, and the fraction of blank frames: near 1 the model says nothing yet."""
        super().reduce_metrics(logging_outputs, criterion)
        frames = sum(log.get("_frames", 0) for log in logging_outputs)
        if frames:
            blank = sum(log["_blank_frames"] for log in logging_outputs)
            metrics.log_scalar("blank", float(blank / frames), float(frames), round=4)

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Return what to save beside the model: the mask, and the values that saving the sparse model displaces."""
        if self.pruner is None or self.pruner.mask is None:
            return {}
        with one_line_errors():
            self._show_sparse()
        say_if_short_of_the_ramp(self.pruner, self._updates)
        logger.info(f"peak memory: {peak_megabytes():.1f} MB")  # not in the checkpoint: it differs from run to run
        state = {
            "updates": self._updates,
            "micro_batch": self._micro_batch,  # an fp16 overflow uses up batches without an update
            "pruning": self.pruner.state_dict(),
            "precision": name_of(self.cfg),
        }
        if self._optimizer is not None and not self.cfg.no_save_optimizer_state:
            state["optimizer"] = state_of(self._optimizer)
        return {type(self).__name__: state}

    def set_checkpoint_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that saved ``state``. fairseq calls this when it resumes, after the weights are loaded."""
        with one_line_errors():
            if self.pruner is not None and "pruning" in state:
                self.pruner.load_state_dict(state["pruning"])
                self._updates = _count_of_updates(state)
                self._micro_batch = state.get("micro_batch", self._micro_batch)
                self._saved = state if "optimizer" in state else None

    # --- decoding ---------------------------------------------------------------------------------------------

    def build_generator(self, _models: Any, args: Any, **_unused: Any) -> CTCGenerator:
        """Return the CTC decoder that fairseq-generate calls: greedy for ``--beam 1``, else a beam search."""
        cfg = self.cfg
        with one_line_errors():
            lm = LanguageModel.if_named(cfg.kenlm_model, cfg.lexicon, cfg.kenlm_weight, cfg.word_score)
            return build_generator(self.target_dictionary, args, lm)

    def inference_step(
        self, generator: Any, models: Any, sample: Any, prefix_tokens: Any = None, constraints: Any = None
    ) -> Any:
        """Decode one batch."""
        with one_line_errors():
            require_readable(sample)
            return super().inference_step(generator, models, sample, prefix_tokens, constraints)


def _count_of_updates(state: Mapping[str, Any]) -> int:
    updates = state.get("updates")
    if type(updates) is not int or updates < 0:
        raise MaskError(f"the checkpoint's pruning state is damaged (updates={updates!r})")
    return updates


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
