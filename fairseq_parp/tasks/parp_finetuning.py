"""The task ``parp_finetuning``: fairseq's training events in, calls of the core out."""

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_finetuning import AudioFinetuningConfig, AudioFinetuningTask
from omegaconf import II

from fairseq_parp import compat
from fairseq_parp.architectures.convolutions import convolutions
from fairseq_parp.commands.recipes import MODELS
from fairseq_parp.compat.encoders import require_pretrained
from fairseq_parp.compat.no_eval import building
from fairseq_parp.compat.safe_loading import checking
from fairseq_parp.decoding import CTCGenerator, LanguageModel, build_generator
from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.decoding.options import missing_mark
from fairseq_parp.decoding.validation import take_language_model, word_decoder
from fairseq_parp.errors import ConfigError, ManifestError, one_line_errors
from fairseq_parp.manifests.checking import unalignable
from fairseq_parp.tasks._speech import SpeechTask
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.options import require_ctc, require_metric
from fairseq_parp.training.utterances import require_readable

logger = logging.getLogger(__name__)

compat.install()


@dataclass
class ParpFinetuningConfig(PruningFields, AudioFinetuningConfig):
    """fairseq's ``audio_finetuning``, one key more for training, one for validation and decoding, four for decoding."""

    stock_batches: bool = field(
        default=False,
        metadata={"help": "validate and decode as stock fairseq, where a batch's padding changes its utterances"},
    )

    # For fairseq-generate. Its own --lm-path is for models that fairseq trained, and its --lm-weight goes with that.
    # Optional, as fairseq makes no argument of "str | None".
    kenlm_model: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "n-gram LM: ARPA file, or a binary of KenLM, with a lexicon"}
    )
    kenlm_weight: float = field(default=2.0, metadata={"help": "weight of the LM's log10 probabilities"})
    word_score: float = field(default=-1.0, metadata={"help": "added for each word that is found with an LM"})
    lexicon: Optional[str] = field(  # noqa: UP045
        default=None, metadata={"help": "words and their spellings; by default all words of the LM, by their letters"}
    )

    # Read from another group of the config; not for users to set.
    path: Any = II("common_eval.path")  # noqa: RUF009 (a string)
    post_process: Any = II("common_eval.post_process")  # noqa: RUF009 (a string)


@register_task("parp_finetuning", dataclass=ParpFinetuningConfig)
class ParpFinetuningTask(SpeechTask, AudioFinetuningTask):
    """CTC finetuning that prunes; decoding that does not."""

    cfg: ParpFinetuningConfig

    def __init__(self, cfg: ParpFinetuningConfig) -> None:
        super().__init__(cfg)
        self._zero_infinity = False
        self._convolutions: list[tuple[int, int]] = []

    @classmethod
    def setup_task(cls, cfg: ParpFinetuningConfig, **kwargs: Any) -> "ParpFinetuningTask":
        """Make the task; where it decodes and no labels are named, the checkpoint's own are used."""
        with one_line_errors():
            cls.prepare(cfg)
        with building():
            return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    # --- data -------------------------------------------------------------------------------------------------

    def require_labels(self, split: str, labels: str, training: bool) -> None:  # noqa: ARG002 (both are trained alike)
        """Find labels that CTC cannot align: an error, or a warning where ``criterion.zero_infinity`` passes over them.

        Raises:
            ManifestError: there are some, and each would make the loss infinite.
        """
        if not self._convolutions:
            return
        found = unalignable(self.cfg.data, split, labels, self._convolutions)
        if found and not self._zero_infinity:
            raise ManifestError(found)
        if found:
            logger.warning(f"{len(found)} utterance(s) train nothing, because of criterion.zero_infinity: {found[0]}")

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion. If it ignores infinite losses, labels that CTC cannot align are allowed."""
        self._zero_infinity = bool(getattr(cfg, "zero_infinity", False))
        with one_line_errors():
            require_metric(self.cfg, cfg._name)
            cfg, lm = take_language_model(cfg)
            criterion = super().build_criterion(cfg, *args, **kwargs)
            given = getattr(criterion, "post_process", None)
            if mark := missing_mark(given, self.target_dictionary.symbols):
                logger.info(f"wer counts labels, as uer does: they have no {mark} for criterion.post_process={given}")
                criterion.post_process = "none"  # fairseq's default, letter, would join each line to one word
            if lm is not None:
                criterion.w2l_decoder = word_decoder(lm, self.target_dictionary)
        return criterion

    # --- training ---------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model; for training, note the convolutions, which decide how many labels CTC can align.

        A model with a decoder is refused: only CTC is supported.
        """
        with one_line_errors():
            require_ctc(model_cfg, training=not from_checkpoint)
        with _pretrained_for(str(getattr(model_cfg, "_name", None))):
            model = super().build_model(model_cfg, from_checkpoint)
        if not from_checkpoint:
            self._convolutions = convolutions(model)
        return model

    # --- validation -------------------------------------------------------------------------------------------

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """Validate on one batch; the logging output counts blank frames."""
        with one_line_errors():
            require_readable(sample)
        alone = contextlib.nullcontext() if self.cfg.stock_batches else each_alone(model, sample["net_input"])
        with one_line_errors(), alone:
            loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        blank, frames = getattr(model, "blank_frames", (0, 0))  # fairseq's distributed wrappers pass it on
        return loss, sample_size, {**logging_output, "_blank_frames": blank, "_frames": frames}

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log fairseq's values, and the fraction of blank frames: near 1 the model emits no labels yet."""
        super().reduce_metrics(logging_outputs, criterion)
        frames = sum(log.get("_frames", 0) for log in logging_outputs)
        if frames:
            blank = sum(log["_blank_frames"] for log in logging_outputs)
            metrics.log_scalar("blank", float(blank / frames), float(frames), round=4)

    # --- decoding ---------------------------------------------------------------------------------------------

    def build_generator(self, _models: Any, args: Any, **_unused: Any) -> CTCGenerator:
        """Return the CTC decoder that fairseq-generate calls: greedy for ``--beam 1``, else a beam search."""
        cfg = self.cfg
        with one_line_errors():
            if mark := missing_mark(cfg.post_process, self.target_dictionary.symbols):
                allowed = f"the labels have no word boundary {mark}, so symbols would run together; leave it out"
                raise ConfigError("post_process", cfg.post_process, allowed)
            lm = LanguageModel.if_named(cfg.kenlm_model, cfg.lexicon, cfg.kenlm_weight, cfg.word_score)
            return build_generator(self.target_dictionary, args, lm, cfg.stock_batches)


def _pretrained_for(model: str) -> contextlib.AbstractContextManager[None]:
    """Check the pretrained file that one of fairseq's own models reads; the plugin's models do so themselves."""
    known = MODELS.get(model)
    if known is None:
        return contextlib.nullcontext()
    return checking(lambda path, state: require_pretrained(path, state, known))
