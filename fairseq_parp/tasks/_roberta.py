"""Checks, before loading, that a checkpoint fits the model of ``parp_sentence_prediction``."""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.roberta import RobertaModel
from omegaconf import OmegaConf

from fairseq_parp.errors import CheckpointError, ConfigError, DictionaryError, absolute, listing, unknown_key
from fairseq_parp.text.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_EMBEDDINGS = "sentence_encoder.embed_tokens.weight"
_POSITIONS = "sentence_encoder.embed_positions.weight"

_MORE_KEYS = ("_name", "checkpoint_activations", "offload_activations")
"""Keys of RoBERTa's that neither its arguments nor its architectures name."""

_NUMBERED = {
    "report_mcc": "whole numbers as labels",
    "report_acc_and_f1": "the labels 0 and 1",
}
"""Keys of the criterion, and the labels that fairseq can compute their metrics of."""

_METRICS = {"report_mcc": ["mcc"], "report_acc_and_f1": ["f1", "acc_and_f1"]}
"""The metrics, of which larger is better."""


def require_inputs(task_cfg: Any, tokens: int) -> None:
    """Check the keys of a task that determine the input of RoBERTa.

    Args:
        task_cfg: config of the task.
        tokens: number of tokens in the dictionary.

    Raises:
        ConfigError: a mark is no token, no text fits, or the data are those of another model.
    """
    for key in ("init_token", "separator_token"):
        if (mark := getattr(task_cfg, key)) is not None and not 0 <= mark < tokens:
            allowed = f"must be the number of a token, from 0 to {tokens - 1}; those of RoBERTa are 0 and 2"
            raise ConfigError(f"task.{key}", mark, allowed)
    if task_cfg.max_positions < 2:
        raise ConfigError("task.max_positions", task_cfg.max_positions, "must be at least 2: a mark and a token")
    if getattr(task_cfg, "d2v2_multi", False):
        raise ConfigError("task.d2v2_multi", True, "prepares the data of another model than RoBERTa; leave the key out")


def require_roberta(model_cfg: Any, training: bool) -> None:
    """Check that a model is a RoBERTa and, for a training, that it reads every key: fairseq passes over unknown ones.

    Raises:
        ConfigError: it is another model, or has no such key.
    """
    name = str(getattr(model_cfg, "_name", None) or getattr(model_cfg, "arch", None))
    known = [each for each, model in ARCH_MODEL_REGISTRY.items() if issubclass(model, RobertaModel)]
    if name not in known:
        raise ConfigError("model._name", name, f"is not a text encoder of this task; {listing(known, most=12)} are")
    if not training or not OmegaConf.is_config(model_cfg):
        return
    parser, defaults = ArgumentParser(), Namespace()
    ARCH_MODEL_REGISTRY[name].add_args(parser)
    ARCH_CONFIG_REGISTRY[name](defaults)
    keys = [*(action.dest for action in parser._actions if action.dest != "help"), *vars(defaults), *_MORE_KEYS]
    for key in model_cfg:
        if key not in keys:
            raise unknown_key(f"model.{key}", model_cfg[key], str(key), sorted(set(keys)))


def require_criterion_name(criterion_cfg: Any) -> None:
    """Check which criterion it is, before keys of the task are read that take their values from it.

    Raises:
        ConfigError: it is another one.
    """
    if criterion_cfg._name != "sentence_prediction":
        raise ConfigError("criterion._name", criterion_cfg._name, "must be sentence_prediction, for classes of texts")


def require_criterion(task_cfg: Any, criterion_cfg: Any, names: Sequence[str]) -> None:
    """Check the criterion, and the metric that decides which checkpoint is best: fairseq looks it up after validation.

    Args:
        task_cfg: config of the task.
        criterion_cfg: config of the criterion.
        names: names of the classes.

    Raises:
        ConfigError: it is another criterion, it reads another head, it cannot compute a metric of these classes, it has
            no such metric, or the worst checkpoint would be kept as the best.
    """
    require_criterion_name(criterion_cfg)
    head, ours = "classification_head_name", task_cfg.classification_head_name
    if criterion_cfg[head] != ours:
        raise ConfigError(f"criterion.{head}", criterion_cfg[head], f"must be that of the task, {ours}")
    _require_numbered(criterion_cfg, names)
    run = task_cfg._get_root()
    if "checkpoint" not in run or run.dataset.disable_validation:
        return
    larger = ["accuracy", *(name for key, names in _METRICS.items() if criterion_cfg.get(key) for name in names)]
    metric, maximize = run.checkpoint.best_checkpoint_metric, run.checkpoint.maximize_best_checkpoint_metric
    if metric not in ("loss", *larger):
        allowed = f"must be one of {', '.join(['loss', *larger])}"
        raise ConfigError("checkpoint.best_checkpoint_metric", metric, allowed)
    if maximize != (metric in larger):
        allowed = f"must be {str(not maximize).lower()} for {metric}: checkpoint_best.pt would be the worst one"
        raise ConfigError("checkpoint.maximize_best_checkpoint_metric", maximize, allowed)


def _require_numbered(criterion_cfg: Any, names: Sequence[str]) -> None:
    """Check that fairseq can compute the metrics of GLUE that a criterion asks for: it reads labels as numbers."""
    if criterion_cfg.get(key := "report_pearson_and_spearman"):  # in fairseq a batch of one text ends in a traceback
        allowed = "is for regression, which is not supported; classes have report_mcc and report_acc_and_f1"
        raise ConfigError(f"criterion.{key}", True, allowed)
    numbers = all(name.isascii() and name.isdigit() for name in names)
    for key, allowed in _NUMBERED.items():
        if criterion_cfg.get(key) and not (set(names) == {"0", "1"} if key == "report_acc_and_f1" else numbers):
            raise ConfigError(f"criterion.{key}", True, f"needs {allowed}; the labels are {listing(names, most=12)}")


def require_pretrained(
    task_cfg: Any, vocabulary: Vocabulary, path: str, state: Mapping[str, Any], new_run: bool
) -> None:
    """Compare a checkpoint with the data and the config of the training that starts from it.

    Args:
        task_cfg: config of the task.
        vocabulary: the data's.
        path: path of the checkpoint.
        state: the checkpoint.
        new_run: whether only its weights are used; otherwise its run continues, with the same labels.

    Raises:
        CheckpointError: it holds no RoBERTa.
        ConfigError: it has another number of positions.
        DictionaryError, TokenizerError: it was trained with other tokens, labels or another tokenizer.
    """
    sizes = {key.partition(".")[2]: len(tensor) for key, tensor in state["model"].items()
             if key.endswith((_EMBEDDINGS, _POSITIONS))}  # fmt: skip
    if _EMBEDDINGS not in sizes:
        raise CheckpointError(
            absolute(path), f"holds no RoBERTa but {_name_of(state)}, which cannot classify text here"
        )
    padding = vocabulary.tokens.pad() + 1  # positions count from there
    if _POSITIONS in sizes and sizes[_POSITIONS] - padding != task_cfg.max_positions:
        allowed = f"{absolute(path)} has {sizes[_POSITIONS] - padding} positions; give that number"
        raise ConfigError("task.max_positions", task_cfg.max_positions, allowed)
    saved = Vocabulary.of_state(state, path) or _of_pretraining(state)
    if saved is not None:
        vocabulary.require_same(saved, path, labels=not new_run)
        return
    if sizes[_EMBEDDINGS] != len(vocabulary.tokens):
        counts = f"{sizes[_EMBEDDINGS]} tokens in the checkpoint, {len(vocabulary.tokens)} here, fairseq's own included"
        way_out = (
            "binarise the table with the tokenizer of the checkpoint: fairseq-parp manifest text --tokenizer FOLDER"
        )
        raise DictionaryError(f"{vocabulary.where}/input0/dict.txt", absolute(path), counts, way_out)
    logger.warning(f"{absolute(path)} does not hold its tokens, so that only their number could be compared")


def _of_pretraining(state: Mapping[str, Any]) -> Vocabulary | None:
    """Return the vocabulary in the data folder that a checkpoint of ``masked_lm`` names, if it is still there."""
    settings = state["args"] if state.get("args") is not None else (state.get("cfg") or {}).get("task") or {}
    values = vars(settings) if isinstance(settings, Namespace) else settings
    data = values.get("data")
    return Vocabulary.of_pretraining(Path(data.split(":")[0])) if isinstance(data, str) and data else None


def _name_of(state: Mapping[str, Any]) -> str:
    cfg = state.get("cfg")
    if cfg is not None:
        return str(cfg["model"].get("_name"))
    return str(getattr(state.get("args"), "arch", "another model"))
