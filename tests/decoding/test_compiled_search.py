"""The compiled search against the one in torch: the same hypotheses in the same order, ties included.

Labels, order and frames are equal; scores to 1e-9, as sums are taken in another order. Both searches compare
log-probabilities in steps of a millionth, so that ties are no matter of rounding.
"""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq_parp.bench.emissions import make
from fairseq_parp.decoding import NO_PRUNING, PrefixBeamSearcher, Pruning
from fairseq_parp.decoding.prefix_beam import fastest_search

without_numba = pytest.mark.skipif(fastest_search() is PrefixBeamSearcher, reason="numba is not installed")
PRUNINGS = (NO_PRUNING, Pruning(), Pruning(-1.0, -2.0), Pruning(-math.inf, -1.0))


def compare(settings: tuple[int, int, int, Pruning], log_probs: Tensor, lengths: Tensor) -> None:
    """Search with both."""
    expected = PrefixBeamSearcher(*settings).search(log_probs, lengths)
    for torchs, ours in zip(expected, fastest_search()(*settings).search(log_probs, lengths), strict=True):
        assert [one.tokens.tolist() for one in ours] == [one.tokens.tolist() for one in torchs]
        assert [one.frames.tolist() for one in ours] == [one.frames.tolist() for one in torchs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in torchs], rel=0, abs=1e-9)
        for one, other in zip(ours, torchs, strict=True):
            torch.testing.assert_close(one.positional_scores, other.positional_scores, rtol=0, atol=1e-9)
            assert (one.tokens.dtype, one.frames.dtype) == (other.tokens.dtype, other.frames.dtype)


def drawn(draw: random.Random) -> tuple[Tensor, Tensor]:
    """Log-probabilities from flat to nearly certain, half of them full of ties, half with impossible symbols."""
    generator = torch.Generator().manual_seed(draw.randrange(2**32))
    shape = draw.choice((1, 3)), draw.choice((0, 1, 4, 9, 14)), draw.choice((2, 3, 5))
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * draw.choice((0, 1, 3, 10, 400))
    if draw.random() < 0.5:
        logits = logits.round()
    if draw.random() < 0.5:
        logits[torch.rand(shape, generator=generator) < draw.choice((0.1, 0.5))] = -math.inf
    lengths = torch.tensor([draw.randint(0, shape[1]) for _ in range(shape[0])])
    return logits.log_softmax(-1).nan_to_num(nan=-math.inf, neginf=-math.inf), lengths


@without_numba
@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_both_find_the_same(seed: int) -> None:
    draw = random.Random(seed)
    log_probs, lengths = drawn(draw)
    beam = draw.choice((1, 2, 5, 60))
    blank = draw.randrange(log_probs.size(-1))
    compare((blank, beam, draw.randint(1, beam), draw.choice(PRUNINGS)), log_probs, lengths)


@without_numba
@pytest.mark.parametrize("threads", [1, 3])
def test_both_find_the_same_in_emissions_like_a_models(threads: int) -> None:
    emissions = [torch.from_numpy(each) for each in make(5, 120).log_probs]
    lengths = torch.tensor([len(each) for each in emissions])
    batch = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True, padding_value=math.nan)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    compare((0, 20, 5, Pruning()), batch, lengths)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("before", "shown"),
    [
        pytest.param("", "False True CompiledPrefixBeamSearcher", marks=without_numba),
        ("sys.modules['numba'] = None", "False False PrefixBeamSearcher"),
        ("sys.path.insert(0, sys.argv[1])", "False False PrefixBeamSearcher"),
    ],
    ids=["numba", "no numba", "a broken numba"],
)
def test_numba_is_loaded_with_the_first_searcher_where_it_is(
    before: str, shown: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    broken = tmp_path_factory.mktemp("broken")
    (broken / "numba.py").write_text("raise RuntimeError('Numba needs another NumPy')")
    program = f"""
import sys
{before}
from fairseq_parp.decoding.generator import build_searcher
early = "numba.core" in sys.modules
searcher = build_searcher(0, 5)
print(early, "numba.core" in sys.modules, type(searcher).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program, broken], capture_output=True, text=True, check=True)
    assert done.stdout.split() == shown.split()
