"""The task ``grounded_pretraining``: captions of pictures or clips, spoken or written, and wav2vec 2.0's own loss."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig, AudioPretrainingTask
from omegaconf import OmegaConf

from fairseq_parp import compat
from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.criterions.grounded import require_weights
from fairseq_parp.errors import ConfigError, one_line_errors
from fairseq_parp.grounded.features import FILE, Features
from fairseq_parp.grounded.recall import METRICS
from fairseq_parp.grounded.weighting import Alpha, read_alpha
from fairseq_parp.tasks._captions import CAPTIONS, require_same_words
from fairseq_parp.training.branches import require_same_branches, require_same_encoder
from fairseq_parp.training.code_updates import CodeUpdates, require_codes
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.gallery import Gallery
from fairseq_parp.training.life_cycle import PruningLifeCycle
from fairseq_parp.training.randomness import derived
from fairseq_parp.training.starting import require_finished
from fairseq_parp.training.training_set import TrainingSet
from fairseq_parp.training.utterances import require_readable

logger = logging.getLogger(__name__)

compat.install()


@dataclass
class GroundedPretrainingConfig(PruningFields, AudioPretrainingConfig):
    """fairseq's ``audio_pretraining``, with pictures. Audio is padded, and cut after ``max_sample_size`` samples."""

    images: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "features of the pictures; by default images.safetensors in the data folder"}
    )
    image_encoder: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "name of the image encoder; by default the one that the file names"}
    )
    least_word_count: int = field(
        default=2, metadata={"help": "of grounded_text: rarer words of the training split share one index"}
    )


@register_task("grounded_pretraining", dataclass=GroundedPretrainingConfig)
class GroundedPretrainingTask(TrainingSet, PruningLifeCycle, AudioPretrainingTask):
    """Joint, visual or plain pretraining; it prunes as every task here does.

    Attributes:
        shortest: samples of the shortest audio that the model takes.
        longest: words of the longest written caption that the model takes.
    """

    cfg: GroundedPretrainingConfig

    def __init__(self, cfg: GroundedPretrainingConfig) -> None:
        super().__init__(cfg)
        self._pictures = False
        self.shortest = self.longest = 1
        self._captions = CAPTIONS["grounded_wav2vec2"]
        self._features: Features | None = None
        self._gallery = Gallery()
        self._codes = CodeUpdates(None, 0)
        self._tensors: frozenset[str] = frozenset()

    @classmethod
    def setup_task(cls, cfg: GroundedPretrainingConfig, **kwargs: Any) -> "GroundedPretrainingTask":
        """Make the task."""
        with one_line_errors():
            if OmegaConf.is_missing(cfg, "data"):
                raise ConfigError("task.data", "???", "must be the folder of the manifests")
            for key in ("multi_corpus_keys", "binarized_dataset", "precompute_mask_config"):
                if getattr(cfg, key, None):
                    raise ConfigError(f"task.{key}", getattr(cfg, key), "is not supported with pictures")
        return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    # --- building -------------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model for the pictures' features; of a checkpoint, no file that it was started from is needed."""
        if from_checkpoint:
            model_cfg.w2v_path = None
        else:
            with one_line_errors():
                self._require(model_cfg)
        model = super().build_model(model_cfg, from_checkpoint)
        self._pictures = getattr(model, "grounded", None) is not None
        self.shortest = shortest_input(model, getattr(model, "fewest_frames", 1))
        self.longest = getattr(model_cfg, "text_longest", 1)
        self._captions = CAPTIONS[model_cfg._name]
        self._codes = CodeUpdates(model, self.cfg.seed)
        self._tensors = frozenset(model.state_dict())
        return model

    def _require(self, model_cfg: Any) -> None:
        """Check the keys that depend on each other, and give the model the shape of the features.

        Raises:
            ConfigError: they do not fit together.
            ImagesError: the features are missing or damaged.
        """
        run = self.cfg._get_root()
        for key, names in (("model", tuple(CAPTIONS)), ("criterion", ("grounded",))):
            if run[key]._name not in names:
                allowed = f"must be {' or '.join(names)} in the task grounded_pretraining"
                raise ConfigError(f"{key}._name", run[key]._name, allowed)
        if model_cfg.alpha not in (None, run.criterion.alpha):
            allowed = f"is filled in from criterion.alpha={run.criterion.alpha}; leave it out"
            raise ConfigError("model.alpha", model_cfg.alpha, allowed)
        model_cfg.alpha = run.criterion.alpha
        alpha = read_alpha(run.criterion.alpha)
        require_weights(run.criterion)
        pictures = alpha.trains_pictures or bool(getattr(model_cfg, "untrained_parts", False))
        CAPTIONS[model_cfg._name].fit(self, model_cfg)
        alpha.require_reached(int(run.optimization.max_update or 0))
        require_codes(run, model_cfg, alpha)
        _require_metric(run, alpha, pictures)
        _require_backend(run, alpha)
        if not pictures:
            return
        size = run.dataset.batch_size
        if size is None or size < 2 or run.dataset.max_tokens is not None:
            key, value = ("batch_size", size) if size is None or size < 2 else ("max_tokens", run.dataset.max_tokens)
            allowed = (
                "must be 2 or more" if key == "batch_size" else "must be left out: the number of negatives would vary"
            )
            raise ConfigError(f"dataset.{key}", value, f"{allowed}; the other items of a batch are its negatives")
        self._fit(model_cfg, self._open())

    def _open(self) -> Features:
        if self._features is None:
            self._features = Features(self.cfg.images or Path(self.cfg.data, FILE))
        return self._features

    def _fit(self, model_cfg: Any, features: Features) -> None:
        """Fill in the properties of the features, or compare them with the config's own."""
        asked = {"image_width": model_cfg.image_width or None, "image_boxes": model_cfg.image_boxes}
        there = {"image_width": features.width, "image_boxes": features.has_boxes}
        for key, value in asked.items():
            if value not in (None, there[key]):
                raise ConfigError(f"model.{key}", value, f"{features.path} has {there[key]}")
            model_cfg[key] = there[key]
        if self.cfg.image_encoder not in (None, features.encoder):
            allowed = f"{features.path} was made by {features.encoder}"
            raise ConfigError("task.image_encoder", self.cfg.image_encoder, allowed)
        # fairseq gives the task a copy of its config; checkpoints save the original.
        self.cfg.image_encoder = self.cfg._get_root().task.image_encoder = features.encoder
        logger.info(f"pictures: {len(features.ids)}, {features.regions} x {features.width} by {features.encoder}")

    # --- data -----------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, task_cfg: Any = None, **kwargs: Any) -> None:
        """Load a split, having checked that its files are there and fit together."""
        self.note_split(split, kwargs)
        cfg = task_cfg or self.cfg
        with one_line_errors():
            features = self._open() if self._pictures else None
            self.datasets[split] = self._captions.load(self, cfg, split, features)

    def get_batch_iterator(self, dataset: Any, **options: Any) -> Any:
        """Return fairseq's iterator; that of a validation set begins a new gallery."""
        if not self.is_trained_on(dataset):
            self._gallery = Gallery()
        return super().get_batch_iterator(dataset, **options)

    def require_fitting(self, path: str, state: Mapping[str, Any]) -> None:
        """Check that pictures, codes and words fit a training to start from, and that it has reached its end."""
        require_same_branches(path, state, self._tensors)
        require_same_encoder(path, state, self.cfg.image_encoder if self._pictures else None)
        self._codes.require_same(state)
        require_same_words(self, path, state)
        if self.run.start is not None and self.run.start.weights_only:
            require_finished(path, state)

    # --- training and validation ----------------------------------------------------------------------------------

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """Train on one micro-batch whose audio and pictures could be read, by the update's alpha."""
        with one_line_errors():
            require_readable(sample)
        criterion.set_num_updates(update_num)
        self._codes.before_forward(ignore_grad)
        return super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Take the optimizer's step, then move the codes."""
        super().optimizer_step(optimizer, model, update_num)
        with one_line_errors():
            self._codes.after_step(update_num + 1, taken=self._updates == update_num + 1)

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """Validate on one batch, and keep the embeddings of its whole, unmasked utterances.

        Mask spans and distractors are the same ones for every checkpoint, so that losses can be compared.
        """
        with one_line_errors():
            require_readable(sample)
        first = int(sample["id"][0])
        with derived(1, first), torch.random.fork_rng(devices=[]):
            torch.manual_seed(first)
            done = super().valid_step(sample, model, criterion)
        if self._pictures:
            inputs = sample["net_input"]
            with torch.no_grad():
                captions = model.embed_captions(inputs["source"], inputs["padding_mask"])
                image = model.embed_images(inputs["images"], inputs.get("boxes"))
            self._gallery.add(sample["id"], sample["image_ids"], captions, image)
            done[2]["validated"] = 1
        return done

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log the criterion's values, and after a validation recall over its whole gallery."""
        super().reduce_metrics(logging_outputs, criterion)
        if any("validated" in log for log in logging_outputs):
            gallery = self._gallery
            for name in METRICS:
                metrics.log_derived(name, lambda _, name=name: round(gallery.recall(name), 3))


def _require_metric(run: Any, alpha: Alpha, pictures: bool) -> None:
    """Check the metric of the best checkpoint.

    Raises:
        ConfigError: the run does not measure it, the worst checkpoint would be the best, or alpha changes its meaning.
    """
    metric, key = run.checkpoint.best_checkpoint_metric, "checkpoint.best_checkpoint_metric"
    if metric.startswith(("recall", "s2i", "i2s")):
        if not pictures or metric not in METRICS:
            allowed = f"must be one of loss, {', '.join(METRICS)}; recall needs criterion.alpha above 0"
            raise ConfigError(key, metric, allowed)
        if not run.checkpoint.maximize_best_checkpoint_metric:
            raise ConfigError("checkpoint.maximize_best_checkpoint_metric", False, f"must be true for {metric}")
    if metric == "loss" and len(alpha.steps) > 1 and not run.dataset.disable_validation:
        allowed = f"changes its meaning where criterion.alpha changes; loss_av, loss_ssl or {METRICS[-1]} does not"
        raise ConfigError(key, metric, allowed)


def _require_backend(run: Any, alpha: Alpha) -> None:
    """Check that ranks may train some parts in some updates only.

    Raises:
        ConfigError: torch would wait for gradients that alpha leaves out.
    """
    ranks = run.distributed_training
    waits = ranks.ddp_backend in ("c10d", "pytorch_ddp") and not ranks.find_unused_parameters
    if waits and ranks.distributed_world_size > 1 and not alpha.uses_all_parts:
        allowed = "must be legacy_ddp where criterion.alpha trains other parts at other updates"
        raise ConfigError("distributed_training.ddp_backend", ranks.ddp_backend, allowed)
