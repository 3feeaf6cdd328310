"""The common part of both CTC models of the plugin: stock models with the same tensors under the same names."""

from typing import Any

from torch import Tensor

from fairseq_parp.models._pretrained import OverPretrained

BLANK = 0
"""wav2vec 2.0's CTC blank is ``<s>``, the dictionary's first symbol."""


class PrunableCtc(OverPretrained):
    """Stands before one of fairseq's CTC models: counts blanks.

    Attributes:
        blank_frames: counts of the last batch in evaluation mode, (frames whose best symbol is the blank, frames).
    """

    training: bool
    blank_frames: tuple[int, int] = (0, 0)

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        """Return probabilities or log-probabilities (frames, utterances, symbols); count blanks in evaluation."""
        probabilities: Tensor = super().get_normalized_probs(net_output, log_probs)  # type: ignore[misc]
        if not self.training:
            self.blank_frames = _count_blanks(probabilities, net_output["padding_mask"])
        return probabilities


def _count_blanks(probabilities: Tensor, padding: Tensor | None) -> tuple[int, int]:
    blank = probabilities.argmax(-1).transpose(0, 1) == BLANK
    real = blank.new_ones(blank.shape) if padding is None else ~padding[:, : blank.shape[1]]
    return int((blank & real).sum()), int(real.sum())
