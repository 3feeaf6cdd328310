"""Loading a grounded checkpoint to retrieve with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.errors import CheckpointError, absolute
from fairseq_parp.plugin import load_plugin
from fairseq_parp.transcription.loading import one_file


class Grounded(NamedTuple):
    """A grounded model and its task.

    Attributes:
        model: the model, in evaluation mode, on a GPU if there is one.
        task: fairseq's task, with the checkpoint's config.
        path: path of the checkpoint.
    """

    model: Any
    task: Any
    path: Path

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def rate(self) -> int:
        """How many inputs of the model make a unit of a caption's length: samples a second of speech, 1 of words."""
        return int(self.task.cfg.sample_rate) if self.model.modality == "audio" else 1

    @property
    def written(self) -> bool:
        """Whether captions are texts; else they are paths of audio."""
        return bool(self.model.modality == "text")

    def require_codes(self) -> Any:
        """Return the part of the model that holds the codes.

        Raises:
            CheckpointError: the model has no codebook, or its codes are not seeded yet.
        """
        parts = self.model.grounded
        if "codes" not in parts or not parts["codes"].book.seeded:
            reason = "has no codes: train with model.codes above 0 for more updates than model.code_warm_up"
            raise CheckpointError(absolute(self.path), reason)
        return parts["codes"]


def load_grounded(path: str | Path) -> Grounded:
    """Load a checkpoint of the task ``grounded_pretraining`` whose training used pictures. Nothing is pruned.

    Raises:
        CheckpointError: it cannot be read, or holds another model, or was trained with ``criterion.alpha=0``.
    """
    from fairseq import checkpoint_utils
    from fairseq.models import MODEL_REGISTRY

    load_plugin()
    from fairseq_parp.models._grounded import Grounding

    with one_file(path):
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        name = state["cfg"].model._name
        if not issubclass(MODEL_REGISTRY.get(name, object), Grounding):
            reason = (
                f"holds the model {name}, which embeds no pictures; name a checkpoint of the task grounded_pretraining"
            )
            raise CheckpointError(absolute(path), reason)
        if not state["cfg"].model.alpha:
            reason = "was trained with criterion.alpha=0, without pictures; name one with alpha above 0"
            raise CheckpointError(absolute(path), reason)
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(path)], state=state)
    task.shortest = shortest_input(model)  # nothing is masked here
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Grounded(model, task, Path(path))
