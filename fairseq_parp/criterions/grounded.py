"""The criterion ``grounded``: the loss between captions and pictures, and wav2vec 2.0's own, by a weight alpha."""

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import torch
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from torch import Tensor
from torch.nn import functional

from fairseq_parp.grounded.allowed import require_allowed
from fairseq_parp.grounded.code_matching import code_matching
from fairseq_parp.grounded.losses import masked_margin_softmax
from fairseq_parp.grounded.weighting import read_alpha
from fairseq_parp.training.gathering import gather

_MEANS = (
    "loss", "loss_av", "loss_codes", "loss_ssl", "contrastive", "diversity", "feature_penalty", "accuracy",
    "code_perplexity",
)  # fmt: skip


@dataclass
class GroundedCriterionConfig(FairseqDataclass):
    """Weights of the losses; the defaults are the published ones."""

    # Any: a number, or pairs of an update and the weight from then on.
    alpha: Any = field(
        default=0.5,
        metadata={"help": "weight of the pictures' loss, 1 - alpha that of wav2vec 2.0's; or [[0, 0], [1000, 0.5]]"},
    )
    margin: float = field(default=1.0, metadata={"help": "taken off the score of an item's own picture"})
    diversity: float = field(
        default=0.1, metadata={"help": "weight of the quantiser's diversity in wav2vec 2.0's loss"}
    )
    feature_penalty: float = field(
        default=0.0, metadata={"help": "weight of the mean square of the convolutions' output in wav2vec 2.0's loss"}
    )
    code_weight: float = field(default=0.0, metadata={"help": "weight of code matching within the pictures' loss"})
    code_both_ways: bool = field(
        default=False, metadata={"help": "match codes of pictures to speech too, not only of speech to pictures"}
    )


def require_weights(cfg: Any) -> None:
    """Check the keys of :class:`GroundedCriterionConfig` beside alpha.

    Raises:
        ConfigError: one has a value that is not allowed.
    """
    names = ("diversity", "feature_penalty", "code_weight")
    rules = {name: (0 <= getattr(cfg, name) < inf, "must be a number of 0 or more") for name in names}
    require_allowed("criterion", cfg, {"margin": (isfinite(cfg.margin), "must be a number"), **rules})


@register_criterion("grounded", dataclass=GroundedCriterionConfig)
class GroundedCriterion(FairseqCriterion):
    """``alpha * (loss_av + code_weight * loss_codes) + (1 - alpha) * (contrastive + weights * extras)``.

    Logarithms are natural. All losses are means, over the items and over the masked frames, and the sample size is 1:
    alpha has the same meaning in every batch. Over ranks, embeddings are gathered with their gradients, so that a
    batch is that of all ranks.
    Training computes the losses that have a weight; validation also that of parts that are built and have none.
    """

    def __init__(
        self,
        task: Any,
        alpha: Any,
        margin: float,
        diversity: float,
        feature_penalty: float,
        code_weight: float = 0.0,
        code_both_ways: bool = False,
    ) -> None:
        super().__init__(task)
        self._alpha = read_alpha(alpha)
        self.alpha, self.margin = self._alpha.steps[-1][1], margin
        self.code_weight, self.code_both_ways = code_weight, code_both_ways
        self.diversity, self.feature_penalty = diversity, feature_penalty

    def set_num_updates(self, update: int) -> None:
        """Take the weight of the update before which ``update`` updates were made; before a first call, the last."""
        self.alpha = self._alpha.at(update)

    def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:  # noqa: ARG002
        """Return the loss, the sample size 1, and the logging output."""
        matches = self.alpha > 0 or (not model.training and model.grounded is not None)
        contrasts = self.alpha < 1 or (not model.training and model.ssl)
        inputs = sample["net_input"]
        if not matches:
            inputs = {key: value for key, value in inputs.items() if key not in ("images", "boxes")}
        result = model(**inputs, ssl=contrasts)
        items = len(sample["id"])
        logged: dict[str, Any] = {"nsentences": items, "ntokens": items, "sample_size": 1, "alpha": self.alpha}
        parts = []
        if matches:
            parts.append((self.alpha, self._matching(model, result, sample, logged)))
        if contrasts:
            parts.append((1 - self.alpha, self._ssl(model, result, logged)))
        first, *more = [weight * part for weight, part in parts if weight]
        loss: Tensor = sum(more, first)
        logged["loss"] = float(loss)
        return loss, 1, logged

    def _matching(self, model: Any, result: dict[str, Any], sample: dict[str, Any], logged: dict[str, Any]) -> Tensor:
        captions, image, ids = gather(result["caption"]), gather(result["image"]), gather(sample["image_ids"])
        found = masked_margin_softmax(image.float() @ captions.float().t(), ids, self.margin)
        logged |= {"loss_av": float(found.loss), "negatives": found.negatives}
        if self.code_weight == 0:
            return found.loss
        return found.loss + self.code_weight * self._code_matching(model, result, ids, logged)

    def _code_matching(self, model: Any, result: dict[str, Any], ids: Tensor, logged: dict[str, Any]) -> Tensor:
        """Return the loss of the codes; before they are seeded it is zero, without a gradient."""
        captions, pictures = (gather(result[f"{name}_codes"].usage) for name in ("caption", "image"))
        loss = code_matching(captions, pictures, ids, self.code_both_ways)
        if model.grounded["codes"].book.seeded:
            logged["loss_codes"] = float(loss)
            return loss
        return 0.0 * loss

    def _ssl(self, model: Any, result: dict[str, Any], logged: dict[str, Any]) -> Tensor:
        """Return wav2vec 2.0's loss: a mean over the masked frames, and weighted extras."""
        logits, target = model.get_logits(result).float(), model.get_targets(None, result)
        if not len(logits):  # audio so short that nothing was masked
            contrastive = logits.sum() + 0.0 * result["features_pen"]
        else:
            contrastive = functional.cross_entropy(logits, target)
            with torch.no_grad():
                logged["accuracy"] = float((logits.argmax(1) == 0).float().mean())
        loss: Tensor = contrastive + self.feature_penalty * result["features_pen"]
        logged |= {"contrastive": float(contrastive), "feature_penalty": float(result["features_pen"])}
        if "prob_perplexity" in result:
            diversity = (result["num_vars"] - result["prob_perplexity"]) / result["num_vars"]
            loss = loss + self.diversity * diversity
            logged |= {"diversity": float(diversity), "code_perplexity": float(result["code_perplexity"])}
        logged["loss_ssl"] = float(loss)
        return loss

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """Log means over batches and ranks; every batch counts once."""
        for key in ("alpha", *_MEANS, "negatives"):
            values = [log[key] for log in logging_outputs if key in log]
            if values:
                metrics.log_scalar(key, sum(values) / len(values), len(values), round=3)
        metrics.log_scalar("ntokens", sum(log.get("ntokens", 0) for log in logging_outputs))
        metrics.log_scalar("nsentences", sum(log.get("nsentences", 0) for log in logging_outputs))

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """Return that they cannot: values that a batch lacks count for nothing."""
        return False
