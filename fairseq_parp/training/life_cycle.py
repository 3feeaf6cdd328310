"""The pruning life cycle of any fairseq task: trainer events in, calls of the core out.

A task gains it by :class:`PruningLifeCycle` before fairseq's task class, and by
:class:`~fairseq_parp.training.fields.PruningFields` before fairseq's config class; see docs/extending.md.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import distributed

from fairseq_parp.adapters import AdapterConfig, Trained, accept
from fairseq_parp.compat import train_loop
from fairseq_parp.compat.no_eval import building
from fairseq_parp.errors import LossError, WeightsError, one_line_errors
from fairseq_parp.memory import peak_megabytes
from fairseq_parp.sparsity import PruneRecord, PruningSession, Sources, read_config
from fairseq_parp.sparsity.methods import build_method
from fairseq_parp.training.folder import claim
from fairseq_parp.training.identity import TrainingData
from fairseq_parp.training.masters import loss_scale, master_weights, overflowed, restore, state_of
from fairseq_parp.training.messages import (
    CollapseWarning,
    log_if_short_of_the_ramp,
    log_into,
    log_pruning,
    warn_if_decayed,
    warn_if_frozen,
)
from fairseq_parp.training.options import require_options
from fairseq_parp.training.precision import masters_after_resume, name_of, require_supported
from fairseq_parp.training.randomness import derived
from fairseq_parp.training.ranks import rank, require_same_mask
from fairseq_parp.training.resuming import start
from fairseq_parp.training.run import Run
from fairseq_parp.training.saved_state import count_of_updates
from fairseq_parp.training.trained import plain, set_up

logger = logging.getLogger(__name__)


class PruningLifeCycle:
    """Prunes the model of the fairseq task that follows this class among the bases.

    Attributes:
        session: the run's pruning; None in a task that does not train.
        run: follows fairseq's train loop to the run's end.
        adapters: the selection of trained parameters; set if the task trains.
        trained: counts of the trained parameters.
        bad_loss: error of a NaN loss on this rank, until all ranks read it.
    """

    cfg: Any
    args: Any
    session: PruningSession | None = None
    adapters: AdapterConfig
    trained: Trained
    bad_loss: LossError | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.cfg is None:  # fairseq's older tasks, such as language_modeling, keep it as ``args`` alone
            self.cfg = self.args
        self.run = Run()
        self._updates = 0
        self._begun = False
        self._micro_batch = (-1, 0)
        self._collapse = CollapseWarning()
        self._optimizer: Any = None
        self._saved: Mapping[str, Any] | None = None

    def utterances(self, ids: list[int]) -> str:
        """Name training examples for a message; a task with manifests names file and line."""
        return ", ".join(map(str, ids))

    def mask_sources(self, model: Any) -> Sources:  # noqa: ARG002
        """Return where first masks come from; a task whose encoder can be built anew gives fresh weights."""
        return Sources()

    def training_data(self) -> TrainingData | None:
        """Return the identity of the training data for checkpoints; None for a task that cannot give it."""
        return None

    def require_fitting(self, path: str, state: Mapping[str, Any]) -> None:
        """Compare the checkpoint that the training starts from with its config, before any of it is used."""

    def start_from(self, cfg: Any, trainer: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
        """Load the checkpoint to start from; see :func:`fairseq_parp.training.resuming.start`."""
        return start(cfg, trainer, options)

    # --- building ----------------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model and, for training, its pruning session."""
        if from_checkpoint:
            with building(), one_line_errors():
                model = super().build_model(model_cfg, from_checkpoint)  # type: ignore[misc]
                accept(model, insert=True)
                return model
        with building(), one_line_errors(), self.run.guarded():
            config, last_update = read_config(plain(self.cfg.pruning)), int(self.cfg.max_update or 0) or None
            build_method(config, last_update)  # its missing keys are named before those of a schedule
            require_supported(self.cfg)
            require_options(self.cfg)
            claim(self.cfg.save_dir)
            train_loop.begin()
            if rank() == 0:
                log_into(self.cfg.save_dir)
            model = super().build_model(model_cfg, from_checkpoint)  # type: ignore[misc]
            self.adapters, self.trained = set_up(model, self.cfg, config)
            session = PruningSession.of_model(model, config, last_update, self.mask_sources(model), self.cfg.seed)
            logger.info(f"pruning {len(session.parameters)} tensors, {session.size:,} weights: {config}")
            warn_if_frozen(model_cfg, session, self.adapters, self.trained)
            warn_if_decayed(self.cfg, session)
            # Every save of the weights, crash.pt included, gets the sparse model.
            model.register_state_dict_pre_hook(lambda *_: self._show_sparse_or_warn())
            self.session = self.run.session = session
            return model

    # --- updates -----------------------------------------------------------------------------------------------------

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad: bool = False
    ) -> Any:
        """Train on one micro-batch, on the weights as training left them, with randomness that a resume repeats."""
        with one_line_errors():
            self._before_forward(optimizer, update_num)
        seen, index = self._micro_batch
        self._micro_batch = (update_num, index + 1 if seen == update_num else 0)
        with derived(self.cfg.seed, update_num, self._micro_batch[1], rank()):
            done = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)  # type: ignore[misc]
        self._require_number(float(done[0].detach()), sample, update_num + 1)
        if self.session is not None:
            self.session.after_backward()
        return done

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """Make the optimizer's step, then re-prune if it is due. An AMP step that overflowed does not count."""
        scale = loss_scale(optimizer)
        if self.session is not None:
            first = self.session.mask is None
            with one_line_errors():
                self._after_prune(self.session, self.session.before_step(update_num), first)
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if overflowed(optimizer, scale):
            return
        self._updates = update_num + 1
        if self.session is not None:
            with one_line_errors():
                self._after_prune(self.session, self.session.after_step(self._updates))
            log_pruning(self.session)

    def _before_forward(self, optimizer: Any, update_num: int) -> None:
        if self.session is None:
            return
        if not self._begun:
            self._begun = True
            self._optimizer = optimizer
            named = {name: parameter.weight for name, parameter in self.session.parameters.items()}
            self.session.attach(master_weights(optimizer, named))
            self.session.show_trained()
            if self._saved is not None:
                self._resume_optimizer(self._saved)
        first = self.session.mask is None
        self._after_prune(self.session, self.session.before_forward(update_num), first)

    def _after_prune(self, session: PruningSession, record: PruneRecord | None, first: bool = False) -> None:
        """Where an event pruned, compare the mask with the other ranks', and log it."""
        if record is None:
            return
        require_same_mask(session)
        if first:
            logger.info(f"first mask: {record.zeros:,} zeros among {record.size:,} weights")
        self._collapse.warn(session)

    def _require_number(self, loss: float, sample: Any, update: int) -> None:
        """Stop at a loss that is NaN: at once where this rank is alone, else where all ranks see it."""
        if not math.isnan(loss):
            return
        where = self.utterances(sample["id"].tolist() if "id" in sample else [])
        self.bad_loss = LossError(f"the loss of update {update} is NaN; its utterances: {where}")
        if not distributed.is_initialized():
            with one_line_errors():
                raise self.bad_loss

    def _resume_optimizer(self, saved: Mapping[str, Any]) -> None:
        restored = restore(self._optimizer, saved["optimizer"])
        was, now = saved["precision"], name_of(self.cfg)
        if was != now:
            logger.info(f"trained in {was} so far, in {now} from here on: {masters_after_resume(now, restored)}")
        self._saved = None

    # --- the sparse model --------------------------------------------------------------------------------------------

    def begin_valid_epoch(self, epoch: int, model: Any) -> None:
        """Validate the sparse model at any time."""
        super().begin_valid_epoch(epoch, model)  # type: ignore[misc]
        with one_line_errors():
            self._show_sparse()

    def _show_sparse(self) -> None:
        if self.session is not None:
            self.session.show_sparse(self._updates)

    def _show_sparse_or_warn(self) -> None:
        """For crash.pt: weights that are not finite must not hide the error that the run ended with."""
        try:
            self._show_sparse()
        except WeightsError as error:
            logger.warning(f"saving the weights as they are: {error}")

    # --- checkpoints -------------------------------------------------------------------------------------------------

    def get_checkpoint_dict(self) -> dict[str, Any]:
        """Return the state beside the model: the mask, and the values that saving the sparse model stashes.

        fairseq looks the entry up by the task's class name; commands find it by the marker within.
        """
        if self.session is None or self.session.mask is None:
            return {}
        with one_line_errors():
            self._show_sparse()
        log_if_short_of_the_ramp(self.session, self._updates)
        logger.info(f"peak memory: {peak_megabytes():.1f} MB")  # not in the checkpoint: it differs from run to run
        state = {
            "updates": self._updates,
            "micro_batch": self._micro_batch,  # an fp16 overflow uses up batches without an update
            "pruning": self.session.state_dict(),
            "precision": name_of(self.cfg),
            "run": self.run.state_dict(),
            "adapters": {"config": self.adapters.identity(), "trained": self.trained.kinds, "size": self.trained.size},
        }
        if (data := self.training_data()) is not None:
            state["data"] = data._asdict()
        if self._optimizer is not None and not self.cfg.no_save_optimizer_state:
            state["optimizer"] = state_of(self._optimizer)
        return {type(self).__name__: state}

    def set_checkpoint_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the run that saved ``state``. fairseq calls this when it resumes, after the weights are loaded."""
        with one_line_errors():
            if self.session is not None and "pruning" in state:
                self.session.load_state_dict(state["pruning"])
                self._updates = count_of_updates(state)
                self._micro_batch = state.get("micro_batch", self._micro_batch)
                self._saved = state if "optimizer" in state else None
