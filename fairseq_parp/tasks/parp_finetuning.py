"""The task ``parp_finetuning``: fairseq's training events in, calls of the core out."""

import logging
import math
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II, DictConfig, OmegaConf

from fairseq_parp import checkpoints, compat
from fairseq_parp.data.every_utterance import EveryUtterance, require_readable
from fairseq_parp.decoding import CTCGenerator, build_generator
from fairseq_parp.decoding.transcribe import convolutions
from fairseq_parp.errors import ConfigError, LossError, ManifestError, MaskError, WeightsError, absolute, listing
from fairseq_parp.glue import one_line_errors, unwrapped
from fairseq_parp.manifests.checking import require, unalignable
from fairseq_parp.mask_files.fresh import fresh_weights
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.optim.masters import loss_scale, master_weights, overflowed
from fairseq_parp.randomness import derived
from fairseq_parp.sparsity import MaskSet, Pruner, PruningConfig, find_parameters
from fairseq_parp.sparsity.magnitude import magnitude_mask
from fairseq_parp.sparsity.methods import build_method
from fairseq_parp.tasks._precision import require_supported

logger = logging.getLogger(__name__)

compat.install()

TEXT_MAX_TOKENS = 12_000
"""What fairseq-generate assumes where no batch size is given: right for words, below a second of audio."""

SAFE_MAX_TOKENS = 1_280_000
"""Samples in a batch (80 s of 16 kHz audio) where fairseq-generate is given no batch size."""


@dataclass
class ParpFinetuningConfig(AudioFinetuningConfig):
    """fairseq's ``audio_finetuning`` and one key more."""

    # Any, not a nested dataclass: omegaconf would refuse a misspelt key inside fairseq's start-up, with a traceback.
    pruning: Any = None

    # What the run is like, read from the other groups of the config; not for users to set.
    max_update: Any = II("optimization.max_update")  # noqa: RUF009 (a string)
    path: Any = II("common_eval.path")  # noqa: RUF009 (a string)
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    cpu: bool = II("common.cpu")
    fp16_no_flatten_grads: bool = II("common.fp16_no_flatten_grads")
    memory_efficient_fp16: bool = II("common.memory_efficient_fp16")
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
        self._told_vanished: set[str] = set()

    @classmethod
    def setup_task(cls, cfg: ParpFinetuningConfig, **kwargs: Any) -> "ParpFinetuningTask":
        """Make the task; where it decodes and no labels are named, the checkpoint's own are used."""
        with one_line_errors():
            if OmegaConf.is_missing(cfg, "data"):
                raise ConfigError("task.data", "???", "must be the folder of the manifests")
            if cfg.path and not cfg.labels:
                cfg.labels = _checkpoint_labels(cfg.path)
        return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    def load_target_dictionary(self) -> Any:
        """Return the dictionary of the labels: the checkpoint's in decoding, that of the data in training."""
        with one_line_errors():
            if self.cfg.path:
                return _first_state(self.cfg.path)["task_state"]["target_dictionary"]
            folder = self.cfg.target_dictionary or self.cfg.data
            return _read_dictionary(super().load_target_dictionary, folder, self.cfg.labels)

    # --- data -------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split, having checked that its files are there and fit together."""
        if "data_selector" in kwargs:  # only the trainer's loading of the training set says so
            self._train_split = split
        cfg = task_cfg or self.cfg
        with one_line_errors():
            if cfg.multi_corpus_keys is None and not getattr(cfg, "binarized_dataset", False):
                require(self.cfg.data, split, cfg.labels, symbols=list(self.target_dictionary.symbols))
                if self._convolutions:
                    self._check_lengths(split, cfg.labels)
        super().load_dataset(split, task_cfg, **kwargs)
        self.datasets[split] = EveryUtterance(self.datasets[split], f"{absolute(self.cfg.data)}/{split}.tsv")

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
            require_supported(self.cfg, model_cfg)
            model = super().build_model(model_cfg, from_checkpoint)
            self._convolutions = convolutions(model)
            last_update = int(self.cfg.max_update or 0) or None
            self.pruner = Pruner.of_model(model, pruning, last_update, self._first_mask(pruning, model, last_update))
            logger.info(f"pruning {len(self.pruner.targets)} tensors, {self.pruner.size:,} weights: {pruning}")
            _warn_if_frozen(model_cfg, self.pruner)
            # Whoever asks for the weights to save them, crash.pt included, gets the sparse model.
            model.register_state_dict_pre_hook(lambda *_: self._show_sparse_or_warn())
            return model

    def _first_mask(self, pruning: PruningConfig, model: Any, last_update: int | None) -> MaskSet | None:
        method = build_method(pruning, last_update)
        if method.fresh:
            names = find_parameters(model, pruning.scope)
            fresh = fresh_weights(model.cfg.w2v_args, names, self.cfg.seed)
            return magnitude_mask(fresh, method.schedule.start, pruning.granularity)
        return None if pruning.mask is None else read_mask(pruning.mask)

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
        rank = distributed_utils.get_data_parallel_rank() if torch.distributed.is_initialized() else 0
        with derived(self.cfg.seed, update_num, self._micro_batch[1], rank):
            done = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        self._require_number(float(done[0]), sample, update_num + 1)
        if self.pruner is not None:
            self.pruner.mask_gradients()
        return done

    def _require_number(self, loss: float, sample: Any, update: int) -> None:
        """Stop at a loss that is NaN: at once where this rank is alone, else where all ranks see it."""
        if not math.isnan(loss):
            return
        where = self.utterances(sample["id"].tolist())
        self.bad_loss = LossError(f"the loss of update {update} is NaN; its utterances: {where}")
        if not torch.distributed.is_initialized():
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
                self.pruner.step(self._updates)
            self._warn_of_vanished(self.pruner)
            _log(self.pruner)

    def _show_dense(self, optimizer: Any, update_num: int) -> None:
        if self.pruner is None:
            return
        if self._begun:
            self.pruner.make_dense()
            return
        self._begun = True
        named = {name: target.weight for name, target in self.pruner.targets.items()}
        self.pruner.attach(master_weights(optimizer, named))
        self.pruner.make_dense()
        report = self.pruner.begin(update_num)
        if report is not None:
            logger.info(f"first mask: {report.zeros:,} zeros among {report.size:,} weights")
            self._warn_of_vanished(self.pruner)

    def _warn_of_vanished(self, pruner: Pruner) -> None:
        """Warn, once each, of weight matrices that the last prune left entirely zero."""
        gone = [name for name in pruner.vanished() if name not in self._told_vanished]
        if gone:
            self._told_vanished.update(gone)
            logger.warning(
                f"nothing is left of {len(gone)} weight matrices ({listing(gone, 3)}): lower task.pruning.sparsity, "
                "or ask for task.pruning.granularity=layer or tensor"
            )

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
        _say_if_short_of_the_ramp(self.pruner, self._updates)
        return {type(self).__name__: {"updates": self._updates, "pruning": self.pruner.state_dict()}}

    def set_checkpoint_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that saved ``state``. fairseq calls this when it resumes, after the weights are loaded."""
        with one_line_errors():
            if self.pruner is not None and "pruning" in state:
                self.pruner.load_state_dict(state["pruning"])
                self._updates = _count_of_updates(state)

    # --- decoding ---------------------------------------------------------------------------------------------

    def build_generator(self, _models: Any, args: Any, **_unused: Any) -> CTCGenerator:
        """Return the CTC decoder that fairseq-generate calls: greedy for ``--beam 1``, else prefix beam search."""
        with one_line_errors():
            return build_generator(self.target_dictionary, args)

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


def _first_state(path: str) -> dict[str, Any]:
    return checkpoints.read(path.split(":")[0])


def _checkpoint_labels(path: str) -> str:
    state = _first_state(path)
    cfg = state["args"] if state.get("args") is not None else state["cfg"]["task"]
    labels = getattr(cfg, "labels", None) if isinstance(cfg, (Namespace, DictConfig)) else cfg.get("labels")
    if not labels:
        raise ConfigError("labels", labels, f"{absolute(path)} names no labels; give --labels")
    return str(labels)


def _read_dictionary(read: Any, folder: str, labels: str | None) -> Any:
    try:
        return read()
    except (OSError, ValueError, RuntimeError) as error:
        raise ManifestError([f"{absolute(folder)}/dict.{labels}.txt: {error}"]) from None


def _warn_if_frozen(model_cfg: Any, pruner: Pruner) -> None:
    frozen = getattr(model_cfg, "freeze_finetune_updates", 0)
    if frozen and pruner.method.interval is not None:
        logger.warning(
            f"model.freeze_finetune_updates={frozen}: the Transformer does not train for {frozen} updates, so PARP "
            f"has nothing to adjust in them; the released PARP recipes use 0"
        )


def _say_if_short_of_the_ramp(pruner: Pruner, update: int) -> None:
    final = float(pruner.method.schedule.end)
    if pruner.sparsity != final:
        logger.info(
            f"the checkpoint of update {update} has sparsity {pruner.sparsity:.4f}; {pruner.config.method} reaches "
            f"{final} at update {pruner.last_update}; a run that stops before keeps the lower sparsity"
        )


def _log(pruner: Pruner) -> None:
    """Put the last mask and the weights' present zeros on fairseq's training log line."""
    metrics.log_derived("zeros", lambda _meters: round(pruner.live_zeros() / pruner.size, 6), priority=605)
    report = pruner.report
    if report is not None:
        metrics.log_scalar("sparsity", report.zeros / report.size, weight=0, priority=600, round=6)
        metrics.log_scalar("churn", report.churn, weight=0, priority=610)
        metrics.log_scalar("prune_ms", report.milliseconds, weight=0, priority=620, round=1)
