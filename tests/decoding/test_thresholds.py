"""What the prefix beam search leaves out, against the textbook search that leaves out the same."""

from __future__ import annotations

import math

import pytest
import torch
from ctc_oracle import BLANK, label_scores, random_log_probs, textbook_prefix_beam

from fairseq_parp.decoding import NO_BEAM_PRUNING, BeamThresholds, GreedyDecoder, PrefixBeamDecoder
from fairseq_parp.decoding.compiled import fastest_search
from fairseq_parp.decoding.generator import build_decoder
from fairseq_parp.decoding.thresholds import prune_frames

SEARCHES = sorted({PrefixBeamDecoder, fastest_search()}, key=lambda search: search.__name__)
IMPOSSIBLE = -math.inf


def found(decoder: PrefixBeamDecoder, log_probs: torch.Tensor) -> dict[tuple[int, ...], float]:
    every = decoder.search(log_probs[None], torch.tensor([len(log_probs)]))[0]
    return {tuple(one.tokens.tolist()): one.score for one in every}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("limits", [(-1.5, -math.inf), (-math.inf, -2.0), (-1.5, -2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_the_pruned_beam_is_the_textbook_one(
    search: type[PrefixBeamDecoder], seed: int, limits: tuple[float, float]
) -> None:
    log_probs = random_log_probs(seed, 60, 5, peak=2.0)
    pruned = found(search(BLANK, 30, 30, BeamThresholds(*limits)), log_probs)
    assert set(pruned) == textbook_prefix_beam(log_probs, 30, *limits)


@pytest.mark.parametrize("search", SEARCHES)
def test_what_survives_still_has_its_true_total(search: type[PrefixBeamDecoder]) -> None:
    log_probs = random_log_probs(1, 5, 4)
    expected = label_scores(log_probs)
    pruned = found(search(BLANK, 50, 50, BeamThresholds(-3.0, -6.0)), log_probs)
    assert 1 < len(pruned) < len(expected)
    assert pruned == pytest.approx({labels: expected[labels] for labels in pruned})


@pytest.mark.parametrize("search", SEARCHES)
def test_the_best_symbol_is_kept_however_improbable(search: type[PrefixBeamDecoder]) -> None:
    log_probs = random_log_probs(2, 12, 2000, peak=0.1)
    assert log_probs.max() < -5
    greedy = GreedyDecoder(BLANK).search(log_probs[None], torch.tensor([12]))[0][0]
    assert list(found(search(BLANK, 5, 5), log_probs)) == [tuple(greedy.tokens.tolist())]


def test_the_usual_pruning_is_that_of_pyctcdecode_and_can_be_switched_off() -> None:
    assert build_decoder(0, 5) == fastest_search()(0, 5, 1, BeamThresholds(token_min_logp=-5.0, beam_prune_logp=-10.0))
    assert build_decoder(0, 5, pruning=NO_BEAM_PRUNING) == fastest_search()(0, 5, 1, NO_BEAM_PRUNING)


def test_of_certain_blanks_after_one_another_the_first_is_left() -> None:
    a, blank, both = [-6.0, -0.1], [-0.1, -6.0], [-0.7, -0.7]
    silence, certain, only_a = [0.0, IMPOSSIBLE], [0.0, IMPOSSIBLE], [IMPOSSIBLE, -0.1]
    batch = torch.tensor([[blank, blank, a, blank, blank, both], [silence, silence, a, silence, silence, silence]])
    expected = torch.tensor([[certain, only_a, certain, both], [certain, only_a, certain, certain]])
    assert torch.equal(prune_frames(batch, BLANK, -5.0), expected)


def test_all_that_are_best_are_kept() -> None:
    frame = torch.tensor([[[-9.0, -7.0, -7.0, -8.0]]])
    assert prune_frames(frame, BLANK, -5.0).tolist() == [[[IMPOSSIBLE, -7.0, -7.0, IMPOSSIBLE]]]
