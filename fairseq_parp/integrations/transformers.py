"""The methods of this package under Hugging Face transformers' ``Trainer``, without fairseq.

A callback prunes, adjusts and re-prunes. The ``Trainer`` evaluates and saves the sparse model.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fairseq_parp.errors import MaskError, absolute, first_line
from fairseq_parp.files import writing_whole
from fairseq_parp.sparsity import PruningSession, read_config

logger = logging.getLogger(__name__)

STATE = "fairseq_parp.pt"
"""The pruning state's file in a checkpoint of the ``Trainer``."""


class PruningCallback(TrainerCallback):
    """Prunes a model while the ``Trainer`` trains it: ``Trainer(..., callbacks=[PruningCallback(sparsity=0.5)])``.

    The ``Trainer`` evaluates and saves the sparse model. Each of its checkpoints holds the pruning state
    ``fairseq_parp.pt``, from which a resumed training continues (docs/api.md).

    Attributes:
        session: the pruning session of the last training; None before the first.
    """

    session: PruningSession | None = None

    def __init__(self, *, resume_from: str | Path | None = None, **keys: Any) -> None:
        """Take the keys of ``task.pruning``.

        Args:
            resume_from: folder of the checkpoint from which a training resumes, if it is not in ``output_dir``.
            keys: keys such as ``method``, ``sparsity``, ``interval`` and ``scope``; see :func:`read_config`.

        Raises:
            ConfigError: a key does not exist, or its value is not allowed.
        """
        self._config = read_config(**keys)
        self._resume_from = resume_from
        self._queued = False
        self._shown_at = -1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Find the prunable weights; on a resume, load the mask and the stashed values.

        Raises:
            MaskError: the checkpoint has no pruning state, or a damaged one.
            ResumeError: the checkpoint was pruned with other keys.
            ScopeError: the scope finds no parameter of the model.
        """
        model = kwargs["model"]
        self.session = PruningSession.of_model(model, self._config, state.max_steps, seed=args.seed)
        if args.weight_decay and self.session.method.learns_scores:
            logger.warning(f"weight_decay={args.weight_decay}: it decays the scores, not the weights")
        self._queued = False
        for parameter in self.session.parameters.values():
            parameter.weight.register_post_accumulate_grad_hook(self._queue)
        if state.global_step:
            folder = Path(self._resume_from or _checkpoint(args, state))
            self.session.load_state_dict(_read(folder / STATE))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the trained weights; the first call computes the first mask."""
        self._running.before_forward(state.global_step)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Prepare the next micro-batch of an update."""
        self._running.before_forward(state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Prepare the optimizer's step."""
        self._running.before_step(state.global_step)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Re-prune if it is due, while the update's gradients exist. The Trainer has not counted the update yet."""
        self._running.after_step(state.global_step + 1)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the sparse model to an evaluation or a save that follows."""
        self._show(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the sparse model to an evaluation or a save that follows."""
        self._show(state, control)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Log the counted sparsity, and the number of weights that the last prune moved into or out of the mask."""
        if self.session is not None and (record := self.session.record) is not None:
            found = {"sparsity": record.sparsity, "churn": record.churn}
            state.log_history[-1].update(found)  # the history has a copy of the printed values
            kwargs.get("logs", {}).update(found)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the pruning state beside the model.

        Raises:
            MaskError: a later callback requested the save, so the saved weights are not the sparse ones.
        """
        if self._shown_at != state.global_step:
            raise MaskError(
                f"{absolute(_checkpoint(args, state))}: saved with the trained weights, not the sparse ones, as "
                "another callback asked for it; PruningCallback has to be the last of Trainer's callbacks"
            )
        if state.is_world_process_zero:
            with writing_whole(_checkpoint(args, state) / STATE) as file:
                torch.save(self._running.state_dict(), file)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the sparse model. A best checkpoint that the Trainer has loaded is sparse already."""
        if not (args.load_best_model_at_end and state.best_model_checkpoint):
            self._running.show_sparse(state.global_step)

    @property
    def _running(self) -> PruningSession:
        if self.session is None:
            raise MaskError("PruningCallback: no training has begun")
        return self.session

    def _show(self, state: TrainerState, control: TrainerControl) -> None:
        if control.should_evaluate or control.should_save:
            self._running.show_sparse(state.global_step)
            self._shown_at = state.global_step

    def _queue(self, _parameter: torch.Tensor) -> None:
        """Treat the gradients once a backward pass has ended, before they are clipped."""
        if not self._queued:
            self._queued = True
            torch.autograd.Variable._execution_engine.queue_callback(self._after_backward)

    def _after_backward(self) -> None:
        self._queued = False
        self._running.after_backward()


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MaskError(
            f"{absolute(path)}: no such file; the training was not pruned by fairseq_parp, or resumes from elsewhere: "
            "PruningCallback(resume_from=FOLDER)"
        )
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise MaskError(f"{absolute(path)}: truncated or damaged ({first_line(error)})") from None
