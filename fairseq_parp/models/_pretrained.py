"""The common part of all models of the plugin: a pretrained encoder, and a one-line error for any other file.

The mask is the zeros of the weights, so checkpoints load strictly into the stock model and back.
"""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from fairseq_parp.architectures.families import CONFORMER
from fairseq_parp.compat.encoders import require_pretrained
from fairseq_parp.compat.no_eval import building
from fairseq_parp.compat.safe_loading import checking
from fairseq_parp.errors import (
    CheckpointError,
    ConfigError,
    OneLineExit,
    ParpError,
    absolute,
    error_of,
    first_line,
    one_line_errors,
)


class OverPretrained:
    """Stands before one of fairseq's models that are built over a pretrained speech encoder.

    Attributes:
        name: the model's ``_name``.
        encoders: the ``_name`` of the CTC model over the encoders that it takes; by default its own.
    """

    name: str
    encoders: str = ""

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> Any:
        """Build from the pretrained file ``cfg.w2v_path``, or from the config that a finetuned checkpoint embeds.

        Raises:
            ConfigError: no file is named, or it was pretrained with another ``normalize``.
            CheckpointError: the file is not there, or is no pretrained encoder of this model's families.
        """
        with building(), one_line_errors():
            if cfg.w2v_args is None and OmegaConf.is_missing(cfg, "w2v_path"):
                raise ConfigError("model.w2v_path", "???", "must be the path of a pretrained checkpoint")
            # fairseq prints the whole model to standard output while it loads the weights.
            with contextlib.redirect_stdout(io.StringIO()):
                return cls._build(cfg, task)

    @classmethod
    def _build(cls, cfg: Any, task: Any) -> Any:
        def check(path: str, state: Mapping[str, Any]) -> None:
            require_pretrained(path, state, cls.encoders or cls.name)
            _require_layer_type(path, state, cfg)

        try:
            with checking(check):
                return super().build_model(cfg, task)  # type: ignore[misc]
        except OneLineExit as stop:
            raise stop.error from None
        except AssertionError as error:
            if "normalization" in str(error):
                allowed = f"the pretrained model has normalize={not cfg.normalize}; finetune with the same"
                raise ConfigError("task.normalize", cfg.normalize, allowed) from error
            raise
        except (ParpError, MemoryError):
            raise
        except Exception as error:  # the file's config and tensors determine the model: every step can fail
            if (known := error_of(error)) is not None:
                raise known from None
            if cfg.w2v_path is None:
                raise
            reason = f"its encoder cannot be built ({first_line(error)})"
            raise CheckpointError(absolute(cfg.w2v_path), reason) from error


def _require_layer_type(path: str, state: Mapping[str, Any], cfg: Any) -> None:
    """Refuse conformer layers under another ``layer_type``: fairseq builds the one of the finetuning's config."""
    types = [getattr(each, "layer_type", None) for each in (getattr(state.get("cfg"), "model", None), cfg)]
    theirs, ours = (None if each is None else str(each) for each in types)
    if None not in (theirs, ours) and theirs != ours and CONFORMER.name in (theirs, ours):
        raise ConfigError("model.layer_type", ours, f"must be {theirs}, as in {absolute(path)}")
