"""The task ``parp_audio_classification``: one label for an utterance, such as a keyword, a speaker or a language."""

from dataclasses import dataclass
from typing import Any

from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.audio_pretraining import AudioPretrainingConfig, AudioPretrainingTask
from omegaconf import II

from fairseq_parp import compat
from fairseq_parp.compat.no_eval import building
from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import MissingToolError, absolute, one_line_errors
from fairseq_parp.manifests.checking import require_one_each
from fairseq_parp.scoring.accuracy import Accuracy
from fairseq_parp.tasks._labels import LabelGenerator, as_classes
from fairseq_parp.tasks._speech import SpeechTask
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.options import require_accuracy, require_classifier
from fairseq_parp.training.utterances import require_readable

try:
    from fairseq.tasks.audio_classification import AudioClassificationConfig, AudioClassificationTask
except ModuleNotFoundError:  # fairseq 0.12.2
    AudioClassificationConfig, AudioClassificationTask = AudioPretrainingConfig, AudioPretrainingTask

compat.install()


@dataclass
class ParpAudioClassificationConfig(PruningFields, AudioClassificationConfig):
    """fairseq's ``audio_classification``, which prunes."""

    # Read from another group of the config; not for users to set.
    path: Any = II("common_eval.path")  # noqa: RUF009 (a string)


@register_task("parp_audio_classification", dataclass=ParpAudioClassificationConfig)
class ParpAudioClassificationTask(SpeechTask, AudioClassificationTask):
    """Classification of utterances that prunes."""

    cfg: ParpAudioClassificationConfig

    @classmethod
    def setup_task(cls, cfg: ParpAudioClassificationConfig, **kwargs: Any) -> "ParpAudioClassificationTask":
        """Make the task; where it decodes and no labels are named, the checkpoint's own are used."""
        with one_line_errors():
            if AudioClassificationTask is AudioPretrainingTask:
                reason = "this fairseq has no task audio_classification; fairseq-fixed has it"
                raise MissingToolError(f"task._name=parp_audio_classification: {reason}")
            cls.prepare(cfg)
            require_classifier(cfg)
        with building():
            return super().setup_task(cfg, **kwargs)  # type: ignore[no-any-return]

    def load_target_dictionary(self) -> Any:
        """Return the labels: the checkpoint's in decoding, those of the data in training."""
        found = super().load_target_dictionary()
        with one_line_errors():
            folder = absolute(self.cfg.target_dictionary or self.cfg.data)
            return as_classes(found, f"{folder}/dict.{self.cfg.labels}.txt")

    def require_labels(self, split: str, labels: str, training: bool) -> None:
        """Check that every utterance has one label, and that a model is trained on two classes at least.

        Raises:
            ManifestError: an utterance has several, or all have the same one.
        """
        require_one_each(self.cfg.data, split, labels, training)

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build the model, having checked that it is one that classifies."""
        with one_line_errors():
            require_classifier(self.cfg, model_cfg)
        return super().build_model(model_cfg, from_checkpoint)

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion, having checked that validation has the metric of the best checkpoint."""
        with one_line_errors():
            require_accuracy(self.cfg, cfg._name)
            return super().build_criterion(cfg, *args, **kwargs)

    # --- validation -------------------------------------------------------------------------------------------

    def valid_step(self, sample: Any, model: Any, criterion: Any) -> Any:
        """Validate on one batch, each utterance as if it were alone."""
        with one_line_errors():
            require_readable(sample)
            with each_alone(model.w2v_encoder, sample["net_input"]):
                loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        return loss, sample_size, {**logging_output, "_validated": len(sample["id"])}

    def _log_metrics(self, sample: Any, model: Any, logging_output: dict[str, Any]) -> None:
        """Count right labels by the probabilities that the loss was made of; fairseq would run the model again."""
        found = model.log_probs.argmax(-1)  # fairseq's distributed wrappers pass it on
        logging_output["_correct"] = int((found == sample["target"][:, 0].to(found.device)).sum())
        logging_output["_total"] = len(found)

    def reduce_metrics(self, logging_outputs: list[dict[str, Any]], criterion: Any) -> None:
        """Log fairseq's values, and in validation the accuracy's interval."""
        super().reduce_metrics(logging_outputs, criterion)
        if any(log.get("_validated", 0) for log in logging_outputs):
            for place, name in enumerate(("accuracy_low", "accuracy_high")):
                metrics.log_derived(name, lambda meters, place=place: _interval(meters)[place])

    # --- decoding ---------------------------------------------------------------------------------------------

    def build_generator(self, _models: Any, _args: Any, **_unused: Any) -> LabelGenerator:
        """Return the generator of fairseq-generate: each hypothesis is the most probable label."""
        return LabelGenerator()


def _interval(meters: Any) -> tuple[float, float]:
    low, high = Accuracy(int(meters["_correct"].sum), int(meters["_total"].sum)).interval()
    return round(low, 4), round(high, 4)
