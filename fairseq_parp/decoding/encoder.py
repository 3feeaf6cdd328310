"""Computes log-probabilities of a batch of audio by one model, or the mean of several."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import ParpError


class DecodingError(ParpError):
    """A model's output cannot be decoded."""


class CTCModel(Protocol):
    """The part of fairseq's ``wav2vec_ctc`` that decoding calls."""

    def __call__(self, **net_input: Any) -> dict[str, Any]:
        """Encode; the output's ``padding_mask`` is (B, T), true past an utterance's end, or None."""
        ...

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        """Return (T, B, C) log-probabilities; may write to ``net_output``."""
        ...

    def eval(self) -> object:
        """Switch dropout and masking off."""
        ...

    def parameters(self) -> Iterator[Tensor]:
        """Yield the parameters."""
        ...


def encode(models: Sequence[CTCModel], sample: Mapping[str, Any], stock_batches: bool = False) -> tuple[Tensor, Tensor]:
    """Run the models on a sample and average their probabilities.

    Args:
        models: the ensemble; put into evaluation mode.
        sample: fairseq's batch; ``net_input`` holds ``source`` (B, samples) and ``padding_mask``.
        stock_batches: let the padding change the shorter utterances, as stock fairseq does; by default each has the
            log-probabilities that it has alone, up to rounding.

    Returns:
        (B, T, C) float32 natural log-probabilities and (B,) frames of each utterance.

    Raises:
        DecodingError: the models disagree in frames or symbols, or an output is NaN.
    """
    outputs = [_encode_one(model, sample["net_input"], stock_batches) for model in models]
    shapes = {tuple(log_probs.shape) for log_probs, _ in outputs}
    if len(shapes) > 1:
        raise DecodingError(
            f"path: the models of an ensemble must agree in (utterances, frames, symbols), got {sorted(shapes)}"
        )
    # Strides that differ can give the longest utterance equal frames and a shorter one not.
    lengths = sorted({tuple(frames.tolist()) for _, frames in outputs})
    if len(lengths) > 1:
        raise DecodingError(f"path: the models of an ensemble must agree in the frames of an utterance, got {lengths}")
    log_probs = torch.stack([log_probs for log_probs, _ in outputs]).logsumexp(0) - math.log(len(outputs))
    bad = log_probs.isnan().flatten(1).any(1)
    if bad.any():
        raise DecodingError(f"the model's output is NaN for {int(bad.sum())} of {len(bad)} utterances of a batch")
    return log_probs, outputs[0][1]


def _encode_one(model: CTCModel, net_input: Mapping[str, Any], stock_batches: bool) -> tuple[Tensor, Tensor]:
    """Return one model's (B, T, C) log-probabilities and the lengths (B,)."""
    model.eval()
    dtype = next(model.parameters()).dtype
    wanted = {name: value for name, value in net_input.items() if name != "prev_output_tokens"}
    # fairseq-generate --fp16 halves the model but not the audio.
    wanted["source"] = wanted["source"].to(dtype)
    with each_alone(cast(nn.Module, model), wanted) if not stock_batches else contextlib.nullcontext():
        net_output = model(**wanted)
    log_probs = model.get_normalized_probs(net_output, log_probs=True).float().transpose(0, 1)
    padding = net_output["padding_mask"]  # read only now: get_normalized_probs may lengthen it
    whole = torch.full((log_probs.size(0),), log_probs.size(1), device=log_probs.device)
    return log_probs, whole if padding is None else (~padding).sum(-1)
