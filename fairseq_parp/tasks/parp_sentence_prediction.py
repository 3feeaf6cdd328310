"""The task ``parp_sentence_prediction``: a text encoder, RoBERTa, finetuned to classify texts, with pruning."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from omegaconf import OmegaConf

from fairseq_parp import compat
from fairseq_parp.errors import ConfigError, absolute, listing, one_line_errors
from fairseq_parp.mask_files.first import sources_of
from fairseq_parp.sparsity import Sources
from fairseq_parp.tasks._roberta import (
    require_criterion,
    require_criterion_name,
    require_inputs,
    require_pretrained,
    require_roberta,
)
from fairseq_parp.text.folder import require_room, require_split
from fairseq_parp.text.vocabulary import KEY, Vocabulary
from fairseq_parp.training.fields import PruningFields
from fairseq_parp.training.life_cycle import PruningLifeCycle
from fairseq_parp.training.precision import require_unsharded
from fairseq_parp.training.texts import EveryText
from fairseq_parp.training.training_set import TrainingSet

logger = logging.getLogger(__name__)

compat.install()


@dataclass
class ParpSentencePredictionConfig(PruningFields, SentencePredictionConfig):
    """fairseq's ``sentence_prediction``; ``num_classes`` may be left out."""


@register_task("parp_sentence_prediction", dataclass=ParpSentencePredictionConfig)
class ParpSentencePredictionTask(TrainingSet, PruningLifeCycle, SentencePredictionTask):
    """Classification of one text, or of two, that prunes.

    Attributes:
        vocabulary: tokens, labels and tokenizer, which every checkpoint keeps.
    """

    cfg: ParpSentencePredictionConfig

    def __init__(self, cfg: ParpSentencePredictionConfig, vocabulary: Vocabulary) -> None:
        super().__init__(cfg, vocabulary.tokens, vocabulary.labels)
        self.vocabulary = vocabulary
        self.state.merge_state_dict({KEY: vocabulary.state()})

    @classmethod
    def setup_task(cls, cfg: ParpSentencePredictionConfig, **_kwargs: Any) -> "ParpSentencePredictionTask":
        """Make the task, with as many classes as the data's dictionary of labels."""
        with one_line_errors():
            if OmegaConf.is_missing(cfg, "data"):
                raise ConfigError("task.data", "???", "must be the folder that fairseq-parp manifest text writes")
            require_unsharded(cfg)
            if "criterion" in (run := cfg._get_root()):
                require_criterion_name(run.criterion)
            if cfg.regression_target:
                raise ConfigError("criterion.regression_target", True, "is not supported: labels are classes here")
            vocabulary = Vocabulary.of_folder(Path(cfg.data))
            require_inputs(cfg, len(vocabulary.tokens))
            names = vocabulary.names
            if cfg.num_classes not in (-1, len(names)):
                allowed = f"{absolute(cfg.data)} has {len(names)} labels: {listing(names, most=12)}; leave the key out"
                raise ConfigError("task.num_classes", cfg.num_classes, allowed)
            cfg.num_classes = len(names)
            return cls(cfg, vocabulary)

    # --- data -------------------------------------------------------------------------------------------------

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:
        """Load a split, having checked that its texts and labels can be used."""
        training = self.note_split(split, kwargs)
        folder = Path(self.cfg.data)
        with one_line_errors():
            require_split(folder, split, self.vocabulary, training)
        super().load_dataset(split, combine=combine, **kwargs)
        self.datasets[split] = EveryText(self.datasets[split], folder, split)
        with one_line_errors():
            examples = self.datasets[split]
            sizes = [int(examples.num_tokens(index)) for index in range(len(examples))]
            require_room(sizes, self.cfg.max_positions, f"{absolute(folder)}: {split}")

    # --- training ---------------------------------------------------------------------------------------------

    def build_model(self, model_cfg: Any, from_checkpoint: bool = False) -> Any:
        """Build a RoBERTa with a classification head; for training, the pruning session too."""
        with one_line_errors():
            require_roberta(model_cfg, training=not from_checkpoint)
            if from_checkpoint:  # fairseq-validate builds the task of the data, then loads the checkpoint's state
                path = OmegaConf.select(self.cfg._get_root(), "common_eval.path") or "the checkpoint"
                saved = Vocabulary.of_state({"task_state": self.state.state_dict}, path)
                if saved is not None:
                    self.vocabulary.require_same(saved, path, labels=True)
        return super().build_model(model_cfg, from_checkpoint)

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the criterion, by one of whose metrics the best checkpoint is found."""
        with one_line_errors():
            require_criterion(self.cfg, cfg, self.vocabulary.names)
        return super().build_criterion(cfg, *args, **kwargs)

    @staticmethod
    def logging_outputs_can_be_summed(criterion: Any) -> bool:
        """Return whether the ranks may sum their logging outputs: GLUE's metrics need lists of labels."""
        return not getattr(criterion, "keep_pred_and_targ", False) and bool(criterion.logging_outputs_can_be_summed())

    def mask_sources(self, model: Any) -> Sources:
        """Return mask files and sparse checkpoints, and fresh weights of the model's shape."""
        return sources_of(lambda: SimpleNamespace(task=self.cfg, model=model.args), self.cfg.seed)

    # --- checkpoints ------------------------------------------------------------------------------------------

    def require_fitting(self, path: str, state: Mapping[str, Any]) -> None:
        """Compare the encoder, the tokenizer and the labels of a checkpoint with those of the training."""
        new_run = self.run.start is not None and self.run.start.weights_only
        require_pretrained(self.cfg, self.vocabulary, path, state, new_run)
