"""Options of fairseq's that are refused when a training starts; docs/training.md has the table of all."""

from __future__ import annotations

import traceback
from collections.abc import Sequence, Sized
from typing import Any

import torch
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler

from fairseq_parp.commands.front import ONLY_CTC
from fairseq_parp.errors import ConfigError

CTC_METRICS = ("loss", "nll_loss", "uer", "wer", "raw_wer", "blank")
"""Metrics of a CTC training's validation."""

_APART = "is not supported: the ranks' weights differ between two of its averages, and so would their masks"


def require_options(task_cfg: Any) -> None:
    """Check the options of the training that a task's config is part of.

    Raises:
        ConfigError: one of them would undo the pruning, or leave no checkpoint to resume from.
    """
    run = task_cfg._get_root()
    if "checkpoint" not in run:  # a task on its own, whose config is part of no training's
        return
    if run.distributed_training.ddp_backend == "slowmo":
        raise ConfigError("distributed_training.ddp_backend", "slowmo", _APART)
    if run.optimization.use_bmuf:
        raise ConfigError("optimization.use_bmuf", True, _APART)
    if run.checkpoint.write_checkpoints_asynchronously:
        allowed = "must be false: fairseq then writes no checkpoint_last.pt, and may leave files half-written"
        raise ConfigError("checkpoint.write_checkpoints_asynchronously", True, allowed)
    _require_schedule(run)


class _NoOptimizer(FairseqOptimizer):
    """The part of an optimizer that a schedule needs, without a model's parameters."""

    def __init__(self) -> None:
        super().__init__(None)
        self._optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def _require_schedule(run: Any) -> None:
    """Build the learning-rate schedule once for a trial: fairseq builds it late, and ends in a traceback.

    Raises:
        ConfigError: the schedule cannot be built from its settings, such as two values in ``optimization.lr``.
    """
    rates, name = list(run.optimization.lr), run.lr_scheduler and run.lr_scheduler._name
    if not rates:
        raise ConfigError("optimization.lr", rates, "needs a value")
    if name is None or name == "pass_through":  # the latter is made of the optimizer's own schedules
        return
    try:
        build_lr_scheduler(run.lr_scheduler, _NoOptimizer()).step_update(0)
    except (ValueError, AssertionError, ArithmeticError, IndexError, TypeError) as error:
        reason = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        settings = f"optimization.lr={rates}, optimization.max_update={run.optimization.max_update}"
        allowed = f"cannot be built with {settings} and its other settings: {reason}"
        raise ConfigError("lr_scheduler._name", name, allowed) from error


def require_ctc(model_cfg: Any, training: bool) -> None:
    """Check that a speech model has no decoder of its own, and that a HuBERT is trained by the plugin's model.

    Raises:
        ConfigError: it is another one.
    """
    name = str(getattr(model_cfg, "_name", None))
    if "seq2seq" in name:
        raise ConfigError("model._name", name, ONLY_CTC)
    if "classification" in name:
        raise ConfigError(
            "model._name", name, "gives one label for an utterance: its task is parp_audio_classification"
        )
    if training and name == "hubert_ctc":
        allowed = "counts no blanks and needs the pretraining's labels to load; parp_hubert_ctc is the same model"
        raise ConfigError("model._name", name, allowed)


CLASSIFIER = "parp_wav2vec_classification"

CLASS_METRICS = ("loss", "ppl", "accuracy", "accuracy_low", "accuracy_high")
"""Metrics of a classifier's validation; larger is better of those that begin with "accuracy"."""


def require_classifier(task_cfg: Any, model_cfg: Any = None) -> None:
    """Check the settings of a training that classifies utterances: stock fairseq ends in a traceback.

    Args:
        task_cfg: config of the task.
        model_cfg: config of the model, when it is built.

    Raises:
        ConfigError: data of several corpora or in another format; compressed labels; a model that does not classify;
            another pooling, or a head without a width.
    """
    for key in ("multi_corpus_keys", "binarized_dataset"):
        if value := getattr(task_cfg, key, None):
            allowed = "is not supported here; fairseq-parp manifest union puts data folders together"
            raise ConfigError(f"task.{key}", value, allowed)
    if str(level := getattr(task_cfg, "text_compression_level", "none")) != "none":
        raise ConfigError(
            "task.text_compression_level", str(level), "must be none: fairseq cannot read such labels again"
        )
    if model_cfg is None:
        return
    name = str(getattr(model_cfg, "_name", None))
    if name != CLASSIFIER:
        raise ConfigError("model._name", name, f"must be {CLASSIFIER}, which gives one label for an utterance")
    if model_cfg.pooling != "mean":
        raise ConfigError("model.pooling", model_cfg.pooling, "must be mean, which alone fairseq's model takes")
    if (width := model_cfg.latent_embed_dim) is not None and width < 1:
        raise ConfigError("model.latent_embed_dim", width, "must be at least 1, or null for the width of the encoder")


def require_accuracy(task_cfg: Any, criterion: str) -> None:
    """Check the criterion of a classifier, and the metric that decides which checkpoint is best.

    Raises:
        ConfigError: another criterion; a metric that there is not; or the worst checkpoint would be taken for the best.
    """
    if criterion != "cross_entropy":
        raise ConfigError("criterion._name", criterion, "must be cross_entropy, for labels of whole utterances")
    _require_metric(task_cfg, CLASS_METRICS)
    run = task_cfg._get_root()
    if "checkpoint" not in run or run.dataset.disable_validation:
        return
    metric, larger = run.checkpoint.best_checkpoint_metric, run.checkpoint.maximize_best_checkpoint_metric
    better = metric.startswith("accuracy")
    if larger != better:
        key, allowed = "checkpoint.maximize_best_checkpoint_metric", f"must be {str(better).lower()} for {metric}"
        raise ConfigError(key, larger, f"{allowed}: checkpoint_best.pt would be the worst one")


def require_metric(task_cfg: Any, criterion: str) -> None:
    """Check the metric that decides which checkpoint of a CTC training is best.

    Raises:
        ConfigError: a CTC training has no such metric.
    """
    if criterion == "ctc":
        _require_metric(task_cfg, CTC_METRICS)


def _require_metric(task_cfg: Any, metrics: Sequence[str]) -> None:
    """Check the metric of the best checkpoint: fairseq looks it up after the first validation."""
    run = task_cfg._get_root()
    if "checkpoint" not in run or run.dataset.disable_validation:
        return
    metric = run.checkpoint.best_checkpoint_metric
    if metric not in metrics:
        raise ConfigError("checkpoint.best_checkpoint_metric", metric, f"must be one of {', '.join(metrics)}")


def require_updates(task_cfg: Any, batches: Sized) -> None:
    """Check that an epoch has an update, if the remainder of its batches is skipped.

    Args:
        task_cfg: config of the task.
        batches: batches of an epoch on one rank; counted only if necessary, because fairseq makes them for it.

    Raises:
        ConfigError: an epoch has no update; fairseq would end in a traceback.
    """
    run = task_cfg._get_root()
    if "optimization" not in run or not getattr(run.optimization, "skip_remainder_batch", False):
        return
    most = max(run.optimization.update_freq)
    if most > len(batches):
        allowed = (
            f"is more than the {len(batches)} batches of an epoch, and optimization.skip_remainder_batch skips the rest"
        )
        raise ConfigError("optimization.update_freq", list(run.optimization.update_freq), allowed)
