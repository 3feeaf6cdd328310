"""Warnings about the pruning, and its values on the training log line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from fairseq.logging import metrics

from fairseq_parp.adapters import AdapterConfig, Trained
from fairseq_parp.errors import ConfigError, listing
from fairseq_parp.sparsity import PruningSession
from fairseq_parp.sparsity.criteria import CRITERIA

logger = logging.getLogger(__name__)


class _QuietFile(logging.FileHandler):
    """A log file that a full disk ends silently: the error comes from the checkpoint that does not fit."""

    def handleError(self, record: logging.LogRecord) -> None: ...  # noqa: N802 (logging's name)


def log_into(folder: str) -> None:
    """Write the log to ``train.log`` in a folder, too.

    Hydra's own log file would lie in the folder of the command, one file for all runs.
    """
    root = logging.getLogger()
    for earlier in [handler for handler in root.handlers if isinstance(handler, _QuietFile)]:
        root.removeHandler(earlier)  # that of another run in this process, an earlier job of a sweep
        earlier.close()
    file = Path(folder) / "train.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = _QuietFile(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    root.addHandler(handler)


class CollapseWarning:
    """Warns, once each, of weight matrices that the last prune left entirely zero."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def warn(self, session: PruningSession) -> None:
        """Warn of the matrices that no earlier warning named."""
        gone = [name for name in session.collapsed() if name not in self._named]
        if gone:
            self._named.update(gone)
            logger.warning(
                f"nothing is left of {len(gone)} weight matrices ({listing(gone, 3)}): lower task.pruning.sparsity, "
                "or ask for task.pruning.allocation=layer or tensor"
            )


_WITHOUT_GRADIENTS = ("freeze_finetune_updates", "layerdrop", "encoder_layerdrop", "decoder_layerdrop")
"""Keys of fairseq's models that leave layers without gradients, at first or in some updates, unless they are 0."""


def warn_if_frozen(model_cfg: Any, session: PruningSession, adapters: AdapterConfig, trained: Trained) -> None:
    """Warn if the Transformer is frozen at first: a method that re-prunes has nothing to adjust then.

    Args:
        model_cfg: the config of the model.
        session: of the training.
        adapters: what is to train.
        trained: the count of it.

    Raises:
        ConfigError: the method learns scores, or the kind of adapters trains parts of the encoder, and they would never
            train; or the criterion needs the gradients of all layers, and some would have none.
    """
    if CRITERIA[session.config.criterion].needs_gradients:
        for key in _WITHOUT_GRADIENTS:
            if value := getattr(model_cfg, key, 0):
                allowed = f"must be 0 with task.pruning.criterion={session.config.criterion}, which ranks by gradients"
                raise ConfigError(f"model.{key}", value, f"{allowed}: layers without any would be pruned first")
    frozen = getattr(model_cfg, "freeze_finetune_updates", 0)
    chosen = trained.kinds if adapters.kind != "full" else ("scores",) if session.method.learns_scores else ()
    if frozen and (inside := " and ".join(kind for kind in chosen if kind != "head")):
        if session.last_update is not None and frozen >= session.last_update:
            allowed = f"the {inside} never train: must be below optimization.max_update={session.last_update}"
            raise ConfigError("model.freeze_finetune_updates", frozen, f"{allowed}; the released recipes use 0")
        logger.warning(f"model.freeze_finetune_updates={frozen}: the {inside} do not train for {frozen} updates")
    if frozen and session.method.facts.reprunes and session.config.interval is not None:
        logger.warning(
            f"model.freeze_finetune_updates={frozen}: the Transformer does not train for {frozen} updates, so "
            f"{session.method.facts.label} has nothing to adjust until then; the released PARP recipes use 0"
        )


def warn_if_decayed(task_cfg: Any, session: PruningSession) -> None:
    """Warn if weight decay pulls learned scores to zero: it changes which weights are kept.

    Args:
        task_cfg: the config of a task, part of a training's.
        session: session of that training.
    """
    optimizer = task_cfg._get_root().get("optimizer")
    decay = getattr(optimizer, "weight_decay", None)
    if decay and session.method.learns_scores:
        logger.warning(
            f"optimizer.weight_decay={decay}: it decays the scores, not the weights; the released S3-Router recipes "
            "use 0"
        )


def log_if_short_of_the_ramp(session: PruningSession, update: int) -> None:
    """Log that a checkpoint's sparsity is not the final one."""
    final = session.method.schedule.end
    if session.target != final:
        logger.info(
            f"the checkpoint of update {update} has sparsity {session.sparsity:.4f}; {session.config.method} reaches "
            f"{float(final)} at update {session.method.schedule.length}; a run that stops before keeps the lower "
            "sparsity"
        )


def log_pruning(session: PruningSession) -> None:
    """Put the last mask and the weights' present zeros on fairseq's training log line."""
    metrics.log_derived("zeros", lambda _meters: round(session.live_zeros() / session.size, 6), priority=605)
    record = session.record
    if record is not None:
        metrics.log_scalar("sparsity", record.sparsity, weight=0, priority=600, round=6)
        metrics.log_scalar("churn", record.churn, weight=0, priority=610)
        metrics.log_scalar("prune_ms", record.milliseconds, weight=0, priority=620, round=1)
