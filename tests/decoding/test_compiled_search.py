"""The compiled search against the one in torch: the same hypotheses in the same order, ties included.

Labels, order and frames are equal; scores to 1e-9, as sums are taken in another order. Both searches compare
log-probabilities in steps of a millionth, so that ties are no matter of rounding.
"""

from __future__ import annotations

import ctypes
import math
import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.emissions import make
from fairseq_parp import native
from fairseq_parp.decoding import NO_BEAM_PRUNING, BeamThresholds, PrefixBeamDecoder, decoder, forward
from fairseq_parp.decoding.compiled import CompiledPrefixBeamDecoder, fastest_search, library

LIBRARY = native.load("decoding.prefix_search")
needs_compiled = pytest.mark.skipif(LIBRARY is None, reason="the search is not compiled")
PRUNINGS = (NO_BEAM_PRUNING, BeamThresholds(), BeamThresholds(-1.0, -2.0), BeamThresholds(-math.inf, -1.0))


def compare(settings: tuple[int, int, int, BeamThresholds], log_probs: Tensor, lengths: Tensor) -> None:
    """Search with both."""
    expected = PrefixBeamDecoder(*settings).search(log_probs, lengths)
    for torchs, ours in zip(expected, CompiledPrefixBeamDecoder(*settings).search(log_probs, lengths), strict=True):
        assert [one.tokens.tolist() for one in ours] == [one.tokens.tolist() for one in torchs]
        assert [one.frames.tolist() for one in ours] == [one.frames.tolist() for one in torchs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in torchs], rel=0, abs=1e-9)
        for one, other in zip(ours, torchs, strict=True):
            torch.testing.assert_close(one.positional_scores, other.positional_scores, rtol=0, atol=1e-9)
            assert (one.tokens.dtype, one.frames.dtype) == (other.tokens.dtype, other.frames.dtype)


def drawn(draw: random.Random) -> tuple[Tensor, Tensor]:
    """Log-probabilities from flat to nearly certain, half of them full of ties, half with impossible symbols."""
    generator = torch.Generator().manual_seed(draw.randrange(2**32))
    shape = draw.choice((1, 3)), draw.choice((0, 1, 4, 9, 14, 70)), draw.choice((1, 2, 3, 5))
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * draw.choice((0, 1, 3, 10, 400))
    if draw.random() < 0.5:
        logits = logits.round()
    if draw.random() < 0.5:
        logits[torch.rand(shape, generator=generator) < draw.choice((0.1, 0.5))] = -math.inf
    if draw.random() < 0.2:
        logits[..., draw.randrange(shape[2])] = -math.inf
    lengths = torch.tensor([draw.randint(0, shape[1]) for _ in range(shape[0])])
    log_probs = logits.log_softmax(-1).nan_to_num(nan=-math.inf, neginf=-math.inf)
    return log_probs - draw.choice((0, 0, 0, 20, 700)), lengths


@needs_compiled
@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_both_find_the_same(seed: int) -> None:
    draw = random.Random(seed)
    log_probs, lengths = drawn(draw)
    beam = draw.choice((1, 2, 5, 60))
    blank = draw.randrange(log_probs.size(-1))
    compare((blank, beam, draw.randint(1, beam), draw.choice(PRUNINGS)), log_probs, lengths)


@needs_compiled
@pytest.mark.parametrize("threads", [1, 3])
def test_both_find_the_same_in_emissions_like_a_models(threads: int) -> None:
    emissions = [torch.from_numpy(each) for each in make(5, 120).log_probs]
    lengths = torch.tensor([len(each) for each in emissions])
    batch = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True, padding_value=math.nan)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    compare((0, 20, 5, BeamThresholds()), batch, lengths)
    torch.set_num_threads(before)


@needs_compiled
@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_both_find_nothing_where_nothing_is_possible(value: float) -> None:
    compare((0, 5, 5, BeamThresholds()), torch.full((2, 4, 3), value, dtype=torch.float64), torch.tensor([4, 2]))


@needs_compiled
def test_no_such_blank() -> None:
    for blank in (-1, 3):
        with pytest.raises(IndexError):
            CompiledPrefixBeamDecoder(blank, 5).search(torch.zeros(1, 4, 3), torch.tensor([4]))


@needs_compiled
@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_too_wide_a_beam_is_an_error_of_python() -> None:
    program = """
import resource, torch
from pathlib import Path
from fairseq_parp.decoding import NO_BEAM_PRUNING
from fairseq_parp.decoding.compiled import CompiledPrefixBeamDecoder
decoder = CompiledPrefixBeamDecoder(0, 10**9, 1, NO_BEAM_PRUNING)
decoder.search(torch.zeros(1, 2, 200), torch.tensor([2]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (32 << 20), resource.RLIM_INFINITY))
try:
    decoder.search(torch.zeros(1, 3, 200), torch.tensor([3]))
except MemoryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "a prefix beam search, beam 1000000000\n"


@needs_compiled
def test_constants_are_those_of_the_search_in_torch() -> None:
    assert LIBRARY is not None
    LIBRARY.parp_constants.restype = ctypes.POINTER(ctypes.c_double)
    ours = decoder.STEPS_PER_NAT, forward.MIN_TOTAL, forward.MIN_SYMBOL, forward.CHUNK, forward.TOP, forward.MAX_AT_ONCE
    assert tuple(LIBRARY.parp_constants()[: len(ours)]) == ours


@needs_compiled
def test_the_compiled_search_is_the_fastest() -> None:
    assert fastest_search() is CompiledPrefixBeamDecoder


def test_where_nothing_is_compiled_torch_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda _part: None)
    library.cache_clear()
    assert fastest_search.__wrapped__() is PrefixBeamDecoder
    library.cache_clear()
