"""Labels of whole utterances: a dictionary of classes, and the best class as fairseq-generate writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import ManifestError

NONE = -1
"""Index of the symbols that a dictionary of classes does not have: no class is taken for padding."""


def as_classes(dictionary: Any, file: str) -> Any:
    """Return a dictionary without fairseq's own symbols, with the attributes that fairseq reads of every one.

    Stock fairseq's has no index of padding, and its loading of a split reads that.

    Args:
        dictionary: fairseq's, of the labels alone; changed in place.
        file: its file, for messages.

    Raises:
        ManifestError: it has fewer than two labels.
    """
    if len(dictionary) < 2:
        names = ", ".join(map(repr, dictionary.symbols)) or "none"
        raise ManifestError([f"{file}: {len(dictionary)} label(s) ({names}); a classifier needs two at least"])
    for symbol in ("bos", "pad", "eos", "unk"):
        setattr(dictionary, f"{symbol}_index", NONE)
    dictionary.nspecial = 0
    return dictionary


class LabelGenerator:
    """The decoder that fairseq-generate calls: each utterance's one hypothesis is its most probable label."""

    symbols_to_strip_from_output: frozenset[int] = frozenset()

    @torch.no_grad()
    def generate(self, models: Sequence[Any], sample: Any, **_unused: Any) -> list[list[dict[str, Any]]]:
        """Return the labels of a batch, by the mean of the models' probabilities."""
        found = [log_probs_alone(model, sample["net_input"]) for model in models]
        log_probs = torch.stack(found).logsumexp(0) - torch.tensor(float(len(models))).log()
        best, labels = log_probs.max(-1)
        return [
            [{"tokens": label[None].cpu(), "score": score, "positional_scores": score[None], "alignment": None}]
            for label, score in zip(labels, best, strict=True)
        ]


def log_probs_alone(model: Any, net_input: Any) -> torch.Tensor:
    """Return (B, classes) log-probabilities, those that each utterance has alone."""
    model.eval()
    wanted = {**net_input, "source": net_input["source"].to(next(model.parameters()).dtype)}
    with each_alone(model.w2v_encoder, wanted):
        log_probs: torch.Tensor = model.get_normalized_probs(model(**wanted), log_probs=True)
    return log_probs.float()
