"""A model that hears tones, and such tones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

TONES = {"A": 500.0, "B": 1000.0, "|": 1500.0, "-": 0.0}
"""Hz of each letter that ``ToneModel`` hears; a pause is a blank."""


class ToneModel(nn.Module):
    """Emits the letter of the loudest frequency, frame by frame (400 samples each 320), at 16 kHz."""

    def __init__(self, dictionary: Dictionary) -> None:
        super().__init__()
        self.feature_extractor = nn.Conv1d(1, 1, 400, 320)
        self.letters = torch.tensor([dictionary.bos() if x == "-" else dictionary.index(x) for x in TONES])
        self.symbols = len(dictionary)
        self.source = torch.empty(0)

    def forward(self, source: Tensor, padding_mask: None) -> dict[str, Any]:
        self.source = source
        loudest = self._loudest(source)
        letter = self.letters[(loudest[..., None] - torch.tensor(list(TONES.values()))).abs().argmin(-1)]
        return {"letter": letter, "padding_mask": padding_mask}

    @staticmethod
    def _loudest(source: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(source.unfold(1, 400, 320) * torch.hann_window(400)).abs()
        peak, index = spectrum.max(-1)
        return torch.where(peak > 1, index * 16000 / 400, 0.0)

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        assert log_probs
        hot = nn.functional.one_hot(net_output["letter"], self.symbols)
        return torch.where(hot > 0, 0.9, 0.1 / (self.symbols - 1)).log().transpose(0, 1)


def tones(rate: int, text: str = "AB-B|A") -> np.ndarray[Any, np.dtype[np.float64]]:
    """A fifth of a second of tone for each letter."""
    frequency = np.repeat([TONES[letter] for letter in text], rate // 5)
    return 0.5 * np.sin(2 * np.pi * np.cumsum(frequency) / rate)


def finetuned_on_tones() -> SimpleNamespace:
    """What a checkpoint of such a model loads as."""
    dictionary = Dictionary()
    for letter in "|AB":
        dictionary.add_symbol(letter)
    return SimpleNamespace(
        model=ToneModel(dictionary), dictionary=dictionary, labels="ltr", normalize=False, sample_rate=16000
    )
