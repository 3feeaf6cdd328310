"""The masked wav2vec 2.0 CTC model: stock ``wav2vec_ctc`` with the same tensors under the same names.

Its mask is nothing but the zeros of its weights, so checkpoints load strictly into the stock model and back.
"""

import contextlib
import io
from dataclasses import dataclass
from typing import Any

from fairseq.models import register_model
from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
from omegaconf import OmegaConf
from torch import Tensor

from fairseq_parp.checkpoints import read
from fairseq_parp.compat.no_eval import building
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

BLANK = 0
"""wav2vec 2.0's CTC blank is ``<s>``, the dictionary's first symbol."""


@dataclass
class ParpWav2VecCtcConfig(Wav2Vec2CtcConfig):
    """The stock model's keys, unchanged: a recipe becomes this model by its ``_name`` alone."""


@register_model("parp_wav2vec_ctc", dataclass=ParpWav2VecCtcConfig)
class ParpWav2VecCtc(Wav2VecCtc):
    """wav2vec 2.0 with a CTC head.

    Attributes:
        blank_frames: of the last batch in evaluation mode, (frames whose best symbol is the blank, frames).
    """

    blank_frames: tuple[int, int] = (0, 0)

    @classmethod
    def build_model(cls, cfg: ParpWav2VecCtcConfig, task: Any) -> "ParpWav2VecCtc":
        """Build from the pretrained file ``cfg.w2v_path``, or from the config that a finetuned checkpoint embeds.

        Raises:
            ConfigError: no file is named, or it was pretrained with another ``normalize``.
            CheckpointError: the file is not there, or is not a pretrained wav2vec 2.0.
        """
        with building(), one_line_errors():
            if cfg.w2v_args is None and OmegaConf.is_missing(cfg, "w2v_path"):
                raise ConfigError("model.w2v_path", "???", "must be the path of a pretrained wav2vec 2.0 checkpoint")
            # fairseq prints the whole model to standard output while it loads the weights.
            with contextlib.redirect_stdout(io.StringIO()):
                return cls._build(cfg, task)

    @classmethod
    def _build(cls, cfg: ParpWav2VecCtcConfig, task: Any) -> "ParpWav2VecCtc":
        try:
            return super().build_model(cfg, task)  # type: ignore[no-any-return]
        except OneLineExit as stop:
            raise stop.error from None
        except AssertionError as error:
            if "normalization" in str(error):
                allowed = f"the pretrained model has normalize={not cfg.normalize}; finetune with the same"
                raise ConfigError("task.normalize", cfg.normalize, allowed) from error
            raise
        except (ParpError, MemoryError):
            raise
        except Exception as error:  # the file's config and tensors decide what is built: any of it can fail
            if (known := error_of(error)) is not None:
                raise known from None
            if cfg.w2v_path is None:
                raise
            reason = _finetuned(cfg.w2v_path) or f"not a pretrained wav2vec 2.0 ({first_line(error)})"
            raise CheckpointError(absolute(cfg.w2v_path), reason) from error

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        """Return probabilities or log-probabilities (frames, utterances, symbols); count blanks in evaluation."""
        probabilities: Tensor = super().get_normalized_probs(net_output, log_probs)
        if not self.training:
            self.blank_frames = _count_blanks(probabilities, net_output["padding_mask"])
        return probabilities


def _finetuned(path: str) -> str | None:
    """Return what to do with a finetuned checkpoint that is named as the pretrained one; None if it is none."""
    with contextlib.suppress(ParpError, KeyError, TypeError):
        if str(read(path)["cfg"]["model"]["_name"]).endswith("ctc"):
            return (
                "is finetuned already, model.w2v_path takes a pretrained one; to go on from its weights: "
                "checkpoint.finetune_from_model=FILE, and the pretrained one as model.w2v_path"
            )
    return None


def _count_blanks(probabilities: Tensor, padding: Tensor | None) -> tuple[int, int]:
    blank = probabilities.argmax(-1).transpose(0, 1) == BLANK
    real = blank.new_ones(blank.shape) if padding is None else ~padding[:, : blank.shape[1]]
    return int((blank & real).sum()), int(real.sum())
