"""Labels of the lines of text files, and of a data folder's split, from a text encoder."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fairseq_parp.checkpoints.finetuned import override
from fairseq_parp.classification.registry import Prediction
from fairseq_parp.compat.no_eval import building
from fairseq_parp.errors import CheckpointError, ManifestError, OneLineExit, ParpError, absolute
from fairseq_parp.plugin import load_plugin
from fairseq_parp.text.table import lines_of
from fairseq_parp.text.vocabulary import Vocabulary

_BATCH = 32
"""Texts that are classified together."""


class TextClassifier:
    """A text encoder with a classification head; it encodes text by the tokenizer that its checkpoint keeps.

    Attributes:
        labels: all that it can give, in the order of its outputs.
    """

    def __init__(self, path: str | Path, overrides: Mapping[str, str]) -> None:
        """Load a checkpoint, to run on a GPU if there is one. The data that it was trained on need not be there.

        Raises:
            CheckpointError: the file cannot be loaded.
            ConfigError: an override of no key.
        """
        from fairseq import checkpoint_utils
        from fairseq.tasks import TASK_REGISTRY

        load_plugin()
        try:
            with building(), contextlib.redirect_stdout(io.StringIO()):
                state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
                for key, value in overrides.items():
                    override(state["cfg"], key, value)
                vocabulary = Vocabulary.of_state(state, str(path))
                if vocabulary is None:
                    raise CheckpointError(absolute(path), "does not keep its labels: another task than this trained it")
                state["cfg"].task.num_classes = len(vocabulary.names)  # the recipe may have left it open
                _require_head(state, len(vocabulary.names), path)
                self._task = TASK_REGISTRY["parp_sentence_prediction"](state["cfg"].task, vocabulary)
                load = checkpoint_utils.load_model_ensemble_and_task
                (self._model,), _, _ = load([str(path)], task=self._task, state=state)
        except OneLineExit as stop:
            raise stop.error from None
        self._path, self._vocabulary = str(path), vocabulary
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.eval().to(self._device)
        self.labels: Sequence[str] = vocabulary.names

    def classify(self, inputs: Sequence[str]) -> Iterator[Prediction | ParpError]:
        """Yield the label of each line of text files, or the error of a line that cannot be classified.

        A line is a text; for a model of pairs it is two texts with a tab between them.

        Raises:
            CheckpointError: the checkpoint keeps no tokenizer.
        """
        if self._vocabulary.tokenizer is None:
            lacks = "keeps no tokenizer, as its data folder had none; --data classifies a binarised folder"
            raise CheckpointError(absolute(self._path), lacks)
        for file in inputs:
            try:
                lines = lines_of(Path(file))
            except ParpError as error:
                yield error
                continue
            if not lines:
                yield ManifestError([f"{absolute(file)}: is empty; a line is a text to classify"])
            prepared = ((f"{file}:{number}", line) for number, line in enumerate(lines, start=1))
            while chunk := [(item, self._encoded(item, line)) for item, line in islice(prepared, _BATCH)]:
                known = [tokens for _, tokens in chunk if isinstance(tokens, Tensor)]
                found = iter(self._best({"src_tokens": self._padded(known)}) if known else [])
                for item, tokens in chunk:
                    yield Prediction(item, *next(found)) if isinstance(tokens, Tensor) else tokens

    def classify_split(self, data: str, split: str) -> Iterator[Prediction]:
        """Yield the label of each example of a binarised folder's split, with its true label.

        Raises:
            ParpError: the split cannot be used, or was binarised with other tokens, labels or another tokenizer.
        """
        Vocabulary.of_folder(Path(data)).require_same(self._vocabulary, self._path, labels=True)
        self._task.cfg.data = data
        try:
            self._task.load_dataset(split)
        except OneLineExit as stop:
            raise stop.error from None
        examples = self._task.datasets[split]
        for start in range(0, len(examples), _BATCH):
            places = range(start, min(start + _BATCH, len(examples)))
            batch = examples.collater([examples[place] for place in places])
            found = self._best(batch["net_input"])
            for place, best, true in zip(places, found, batch["target"].flatten().tolist(), strict=True):
                yield Prediction(f"{split}:{place + 1}", *best, self.labels[true])

    def _encoded(self, item: str, line: str) -> Tensor | ParpError:
        """Return a line's tokens with fairseq's marks, as the data of the training have them."""
        texts = line.split("\t")
        if len(texts) != 1 + self._vocabulary.pairs:
            wanted = "two texts with a tab between them" if self._vocabulary.pairs else "one text, without tabs"
            return ManifestError([f"{item}: {len(texts)} text(s); the model takes {wanted}"])
        if not all(text.strip() for text in texts):
            return ManifestError([f"{item}: the text is empty"])
        cfg, parts = self._task.cfg, []
        for text, mark in zip(texts, (cfg.init_token, cfg.separator_token), strict=False):
            parts += [] if mark is None else [torch.tensor([mark])]
            ids = self._vocabulary.tokenizer.encode(text.strip())  # type: ignore[union-attr]
            parts.append(self._vocabulary.tokens.encode_line(ids, add_if_not_exist=False).long())
        tokens = torch.cat(parts)
        if str(cfg.shorten_method) == "truncate":
            tokens = tokens[: cfg.max_positions]
        if len(tokens) > cfg.max_positions:
            return ManifestError([f"{item}: {len(tokens)} tokens, the model has {cfg.max_positions} positions"])
        return tokens

    def _padded(self, rows: Sequence[Tensor]) -> Tensor:
        pad: int = self._vocabulary.tokens.pad()
        return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=pad)

    def _best(self, inputs: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Return the most probable label of each text of a batch, with its probability."""
        head = self._task.cfg.classification_head_name
        tokens = inputs["src_tokens"].to(self._device)
        with torch.no_grad():
            logits = self._model(tokens, features_only=True, classification_head_name=head)[0]
        probability, best = logits.float().softmax(-1).cpu().max(-1)
        if probability.isnan().any():
            raise ParpError(f"{absolute(self._path)}: the model's output is NaN")
        return [(self.labels[place], value) for place, value in zip(best.tolist(), probability.tolist(), strict=True)]


def _require_head(state: Mapping[str, Any], classes: int, path: str | Path) -> None:
    """Check that a checkpoint has the head to load: fairseq would put a random one in place of another.

    Raises:
        CheckpointError: it has none of that name, or one for another number of labels.
    """
    name = state["cfg"].task.classification_head_name
    weight = state["model"].get(f"classification_heads.{name}.out_proj.weight")
    if weight is None or len(weight) != classes:
        found = "no such head" if weight is None else f"one for {len(weight)}"
        raise CheckpointError(absolute(path), f"needs the head {name!r} for its {classes} labels; it has {found}")


load = TextClassifier
