"""Greedy and prefix beam search against enumeration of all paths."""

from __future__ import annotations

import itertools
import math
import time
from typing import cast

import pytest
import torch
from ctc_oracle import (
    BLANK,
    beginning_score,
    best_starts,
    collapse,
    label_scores,
    path_scores,
    random_log_probs,
    textbook_prefix_beam,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import ctc_loss

from fairseq_parp.decoding import NO_BEAM_PRUNING, Decoder, GreedyDecoder, Hypothesis, PrefixBeamDecoder
from fairseq_parp.decoding.compiled import fastest_search

A, B, C = 1, 2, 3
EVERYTHING = 400  # more than the label sequences of 5 frames and 3 labels


Search = type[PrefixBeamDecoder]
SEARCHES = sorted({PrefixBeamDecoder, fastest_search()}, key=lambda search: search.__name__)
"""The one in torch, and the compiled one where it was compiled."""


@pytest.fixture(scope="module", params=SEARCHES)
def search(request: pytest.FixtureRequest) -> Search:
    return cast(Search, request.param)


def exact(search: Search, beam: int, nbest: int) -> Decoder:
    """A search that looks at everything."""
    return search(BLANK, beam, nbest, NO_BEAM_PRUNING)


def decode(decoder: Decoder, log_probs: Tensor) -> list[Hypothesis]:
    return decoder.search(log_probs[None], torch.tensor([len(log_probs)]))[0]


def labels(hypothesis: Hypothesis) -> tuple[int, ...]:
    return tuple(hypothesis.tokens.tolist())


def peaked(*symbols: int, symbols_in_all: int = 4) -> Tensor:
    """Log-probabilities in which each frame's symbol has probability 0.7."""
    rest = 0.3 / (symbols_in_all - 1)
    return torch.where(torch.nn.functional.one_hot(torch.tensor(symbols), symbols_in_all) > 0, 0.7, rest).log()


@st.composite
def small_log_probs(draw: st.DrawFn) -> Tensor:
    """(T, C) normalised log-probabilities, T to 5, C 2 to 4; now and then symbols that cannot be."""
    frames, symbols = draw(st.integers(0, 5)), draw(st.integers(2, 4))
    log_probs = random_log_probs(draw(st.integers(0, 10**6)), frames, symbols)
    impossible = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=4))
    for frame, symbol in impossible:
        if frame < frames and symbol < symbols:
            log_probs[frame, symbol] = -math.inf
    possible = log_probs.isfinite().any(-1, keepdim=True)
    return torch.where(possible, log_probs, 0.0).log_softmax(-1)


@given(small_log_probs())
@settings(deadline=None, max_examples=40)
def test_a_wide_beam_finds_every_label_sequence_with_its_total_probability(search: Search, log_probs: Tensor) -> None:
    expected = label_scores(log_probs)
    found = decode(exact(search, EVERYTHING, EVERYTHING), log_probs)
    assert len(found) == len(expected)
    assert {labels(one): one.score for one in found} == pytest.approx(expected)
    assert all(one.score - other.score > -1e-6 for one, other in itertools.pairwise(found))


@given(small_log_probs(), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_a_narrow_beam_still_reports_true_totals_and_each_sequence_once(
    search: Search, log_probs: Tensor, beam: int
) -> None:
    expected = label_scores(log_probs)
    found = decode(exact(search, beam, beam), log_probs)
    assert 1 <= len(found) <= beam
    assert len({labels(one) for one in found}) == len(found)
    for one in found:
        assert one.score == pytest.approx(expected[labels(one)])


@given(small_log_probs())
@settings(deadline=None, max_examples=40)
def test_positional_scores_are_the_increments_of_the_beginnings(search: Search, log_probs: Tensor) -> None:
    scores = label_scores(log_probs)
    for one in decode(exact(search, 3, 3), log_probs):
        begun = [beginning_score(scores, labels(one)[:size]) for size in range(len(one.tokens))]
        expected = [after - before for before, after in itertools.pairwise([*begun, one.score])]
        assert one.positional_scores.tolist() == pytest.approx(expected if len(one.tokens) else [])


@given(small_log_probs())
@example(torch.tensor([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]).double().log())  # starting at frame 0 or 1 ties
@settings(deadline=None, max_examples=40)
def test_frames_are_those_of_the_best_path_that_reads_so(search: Search, log_probs: Tensor) -> None:
    for one in decode(exact(search, 3, 3), log_probs):
        assert one.frames.tolist() in best_starts(log_probs, labels(one))


@given(small_log_probs())
@settings(deadline=None, max_examples=40)
def test_greedy_is_the_best_path(log_probs: Tensor) -> None:
    paths = path_scores(log_probs)
    (one,) = decode(GreedyDecoder(BLANK), log_probs)
    assert one.score == pytest.approx(max(paths.values()))
    assert labels(one) == collapse(max(paths, key=paths.__getitem__))
    if len(one.tokens):
        assert float(one.positional_scores.sum()) == pytest.approx(one.score, rel=1e-14)
        assert one.frames.tolist() in best_starts(log_probs, labels(one))


@pytest.mark.parametrize("beam", [2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_the_beam_is_the_textbook_one(search: Search, seed: int, beam: int) -> None:
    # Long enough, over few symbols, that prefixes fall out of the beam and come back beside their children.
    log_probs = random_log_probs(seed, 60, 4, peak=1.0)
    found = decode(exact(search, beam, beam), log_probs)
    assert {labels(one) for one in found} == textbook_prefix_beam(log_probs, beam)


def test_long_totals_are_those_of_ctc_loss(search: Search) -> None:
    log_probs = random_log_probs(0, 80, 9)
    for one in decode(exact(search, 4, 4), log_probs):
        sizes = torch.tensor([80]), torch.tensor([len(one.tokens)])
        loss = ctc_loss(log_probs[:, None], one.tokens[None], *sizes, blank=BLANK, reduction="sum")
        assert one.score == pytest.approx(-float(loss))
        assert float(one.positional_scores.sum()) == pytest.approx(one.score)
        assert (one.positional_scores <= 1e-12).all()
        assert (one.frames.diff() > 0).all()


@pytest.mark.parametrize(
    "decoder",
    [GreedyDecoder(BLANK), *(search(BLANK, 4, 2) for search in SEARCHES)],
    ids=["greedy", *(search.__name__ for search in SEARCHES)],
)
class TestEveryDecoder:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ((A, A, A), (A,)),
            ((A, BLANK, A), (A, A)),
            ((BLANK, A, A, B, B, BLANK), (A, B)),
            ((A, B, A), (A, B, A)),
            ((C, BLANK, BLANK, C, C, BLANK, C), (C, C, C)),
            ((BLANK, BLANK), ()),
        ],
    )
    def test_repetitions_and_blanks(self, decoder: Decoder, path: tuple[int, ...], expected: tuple[int, ...]) -> None:
        assert labels(decode(decoder, peaked(*path))[0]) == expected

    def test_a_batch_is_its_utterances(self, decoder: Decoder) -> None:
        lengths = [7, 0, 12, 1, 9]
        batch = random_log_probs(1, len(lengths), max(lengths), 5)
        for row, length in enumerate(lengths):
            batch[row, length:] = math.nan  # read by nobody
        together = decoder.search(batch, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            for one, alone in zip(together[row], decode(decoder, batch[row, :length]), strict=True):
                assert labels(one) == labels(alone)
                assert one.score == pytest.approx(alone.score)
                assert one.positional_scores.tolist() == pytest.approx(alone.positional_scores.tolist())
                assert one.frames.tolist() == alone.frames.tolist()

    def test_no_frames(self, decoder: Decoder) -> None:
        (one,) = decode(decoder, torch.empty(0, 4))
        assert (labels(one), one.score, len(one.positional_scores), len(one.frames)) == ((), 0.0, 0, 0)

    def test_an_empty_hypothesis_keeps_its_score(self, decoder: Decoder) -> None:
        one = decode(decoder, torch.tensor([[0.8, 0.2]] * 3).log())[0]
        assert (labels(one), len(one.positional_scores)) == ((), 0)
        assert one.score == pytest.approx(3 * math.log(0.8))

    def test_nothing_is_possible(self, decoder: Decoder) -> None:
        (one,) = decode(decoder, torch.full((3, 4), -math.inf))
        assert (labels(one), one.score, len(one.positional_scores)) == ((), -math.inf, 0)

    def test_half_precision(self, decoder: Decoder) -> None:
        one = decode(decoder, peaked(A, BLANK, A).half())[0]
        assert labels(one) == (A, A)
        assert one.positional_scores.dtype == torch.float64


def test_greedy_gives_each_frame_to_a_label() -> None:
    log_probs = peaked(BLANK, A, A, BLANK, B)
    log_probs[0, BLANK], log_probs[3, BLANK] = math.log(0.9), math.log(0.8)
    (one,) = decode(GreedyDecoder(BLANK), log_probs)
    assert one.frames.tolist() == [1, 4]
    expected = [math.log(0.9 * 0.7 * 0.7 * 0.8), math.log(0.7)]
    assert one.positional_scores.tolist() == pytest.approx(expected)


def test_the_beam_prefers_many_middling_paths_to_one_good_path(search: Search) -> None:
    # The best path is two blanks (0.36), but three paths read A (0.64).
    log_probs = torch.tensor([[0.6, 0.4]] * 2).log()
    assert labels(decode(GreedyDecoder(BLANK), log_probs)[0]) == ()
    best, second = decode(exact(search, 5, 5), log_probs)
    assert (labels(best), math.exp(best.score)) == ((A,), pytest.approx(0.64))
    assert (labels(second), math.exp(second.score)) == ((), pytest.approx(0.36))


def test_a_doubled_label_needs_a_blank_between(search: Search) -> None:
    certain = torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.0, 1.0]]).log()
    found = decode(exact(search, 5, 5), certain)
    assert {labels(one): math.exp(one.score) for one in found} == pytest.approx({(A,): 0.5, (A, A): 0.5})


def test_ties_keep_short_prefixes_and_low_symbols(search: Search) -> None:
    uniform = torch.full((1, 4), math.log(0.25))
    assert labels(decode(GreedyDecoder(BLANK), uniform)[0]) == ()
    assert [labels(one) for one in decode(exact(search, 3, 3), uniform)] == [(), (A,), (B,)]


def test_ten_seconds_of_audio_for_eight_take_a_second_or_so() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    log_probs, lengths = random_log_probs(0, 8, 500, 32).float(), torch.full((8,), 500)
    start = time.process_time()
    PrefixBeamDecoder(BLANK, 5).search(log_probs, lengths)
    torch.set_num_threads(threads)
    assert time.process_time() - start < 3


def test_nbest_cuts_the_list_after_the_true_scores_are_known(search: Search) -> None:
    log_probs = random_log_probs(3, 6, 4)
    every = decode(exact(search, 8, 8), log_probs)
    assert [labels(one) for one in decode(exact(search, 8, 2), log_probs)] == [labels(one) for one in every[:2]]
