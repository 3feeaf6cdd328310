"""Sums over all alignments where probabilities leave the range of doubles, against PyTorch's own CTC loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from ctc_oracle import BLANK, random_log_probs
from torch import Tensor
from torch.nn.functional import ctc_loss

from fairseq_parp.decoding import NO_BEAM_PRUNING, PrefixBeamDecoder
from fairseq_parp.decoding.compiled import fastest_search
from fairseq_parp.decoding.lattice import Lattice

BEAM = 10
Totals = Callable[[Tensor, Tensor], tuple[float, Tensor]]


def in_torch(log_probs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    count = torch.tensor([[len(labels)]])
    scores, positional = Lattice(log_probs[None], labels[None, None], count, BLANK).total()
    return float(scores), positional[0, 0]


def compiled(log_probs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    decoder = fastest_search()(BLANK, BEAM, BEAM, NO_BEAM_PRUNING)
    (found,) = decoder.search(log_probs[None], torch.tensor([len(log_probs)]))
    (one,) = (one for one in found if one.tokens.equal(labels))
    return one.score, one.positional_scores


needs_compiled = pytest.mark.skipif(fastest_search() is PrefixBeamDecoder, reason="the search is not compiled")


@pytest.mark.parametrize("totals", [in_torch, pytest.param(compiled, marks=needs_compiled)])
class TestTotals:
    @pytest.mark.parametrize(("each_frame", "low", "high"), [(0, -745, 0), (-9, -1300, -745), (-20, -9999, -1400)])
    def test_however_improbable_a_sequence_is(self, totals: Totals, each_frame: int, low: float, high: float) -> None:
        log_probs = random_log_probs(0, 100, 9) + each_frame
        lengths = torch.tensor([100])
        labels = PrefixBeamDecoder(BLANK, BEAM, 1, NO_BEAM_PRUNING).search(log_probs[None], lengths)[0][0].tokens
        sizes = lengths, torch.tensor([len(labels)])
        expected = -float(ctc_loss(log_probs[:, None], labels[None], *sizes, blank=BLANK, reduction="sum"))
        score, positional = totals(log_probs, labels)
        assert low < expected < high
        assert score == pytest.approx(expected, rel=1e-11)
        assert float(positional.sum()) == pytest.approx(expected, rel=1e-11)
        assert (positional <= 1e-9).all()

    def test_a_symbol_below_the_smallest_double(self, totals: Totals) -> None:
        log_probs = torch.tensor([[-1000.0, 0.0, -2000.0], [0.0, -1000.0, -1000.0]], dtype=torch.float64)
        score, positional = totals(log_probs, torch.tensor([1, 2]))
        assert (score, positional.tolist()) == (-1000.0, [0.0, -1000.0])

    def test_a_steep_fall_of_all_that_is_possible(self, totals: Totals) -> None:
        log_probs = torch.tensor([[-650.0, -650.0, 0.0]] * 2, dtype=torch.float64)
        score, positional = totals(log_probs, torch.tensor([1]))
        assert score == pytest.approx(-1300 + math.log(3), rel=1e-12)
        assert positional.tolist() == [score]

    def test_probability_that_comes_late(self, totals: Totals) -> None:
        # The label is next to impossible for a thousand frames, and the rest of them are certain blanks.
        log_probs = torch.tensor([[0.0, -600.0]] * 1000 + [[-600.0, 0.0]], dtype=torch.float64)
        score, positional = totals(log_probs, torch.tensor([1, 1]))
        assert score == pytest.approx(-600 + math.log(999))
        assert positional.tolist() == pytest.approx([0.0, -600 + math.log(999)])
