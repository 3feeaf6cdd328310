"""Rows: prefix beam search without a language model beside pyctcdecode's.

Both decode the same artificial emissions with the same beam and the same pruning, which is pyctcdecode's default. Our
time includes scores, positional scores and alignments, as in fairseq-generate and ``fairseq-parp transcribe``. A row
holds only if our letters have no more errors than the peer's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch.nn.utils.rnn import pad_sequence

from benchmarks.emissions import Emissions, make
from benchmarks.pyctcdecode import pyctcdecode
from benchmarks.rows import Bar, Job, Row, compare, in_turn, unmeasured
from benchmarks.weights import Size
from fairseq_parp.decoding import Decoder, PrefixBeamDecoder
from fairseq_parp.decoding.compiled import fastest_search
from fairseq_parp.errors import MissingToolError
from fairseq_parp.scoring import error_rate

BEAM, BLANK = 50, 0
UTTERANCES, LONGEST = 20, 500
"""Utterances, and frames of each at most."""

COMPILED, TORCH = f"prefix beam search, beam {BEAM}", f"prefix beam search, beam {BEAM}, only torch"
BARS = {COMPILED: Bar(10.0, faster=True), TORCH: Bar(2.0, faster=True)}


def jobs(size: Size | None = None) -> Iterator[Job]:
    """Yield the jobs; tests, which give a ``size``, get two short utterances."""
    amount = (2, 60) if size else (UTTERANCES, LONGEST)
    yield Job([COMPILED], functools.partial(_compiled, amount))
    yield Job([TORCH], functools.partial(_beside_peer, TORCH, BARS[TORCH], PrefixBeamDecoder(BLANK, BEAM), 8, amount))


def _compiled(amount: tuple[int, int]) -> Iterator[Row]:
    """Decode utterance by utterance with the compiled search, where there is one."""
    search = fastest_search()
    if search is PrefixBeamDecoder:
        yield unmeasured(COMPILED, BARS[COMPILED], "pyctcdecode", "not compiled here: fairseq-parp doctor")
    else:
        yield from _beside_peer(COMPILED, BARS[COMPILED], search(BLANK, BEAM), 1, amount)


def _beside_peer(name: str, bar: Bar, decoder: Decoder, batch: int, amount: tuple[int, int]) -> Iterator[Row]:
    made = make(*amount)
    ours = texts_of(decoder, made, batch)
    try:
        with pyctcdecode(made.log_probs, made.alphabet, BEAM) as peer:
            times = in_turn(lambda: None, ours, peer.decode, [bar])
            row = compare(name, bar, f"pyctcdecode {peer.version}", *times)
            yield judged(row, made.texts, ours(), peer.decode())
    except (MissingToolError, OSError) as error:
        yield unmeasured(name, bar, "pyctcdecode", str(error))


def texts_of(decoder: Decoder, made: Emissions, batch: int) -> Callable[[], list[str]]:
    """Return a function that decodes the utterances to texts, in batches of the given size."""
    every = [torch.from_numpy(log_probs) for log_probs in made.log_probs]
    batches = [every[start : start + batch] for start in range(0, len(every), batch)]

    def decode() -> list[str]:
        found = []
        for some in batches:
            found += decoder.search(pad_sequence(some, batch_first=True), torch.tensor([len(each) for each in some]))
        letters = ("".join(made.alphabet[label] for label in best.tokens.tolist()) for best, *_ in found)
        return [" ".join(text.split()) for text in letters]

    return decode


def judged(
    row: Row, meant: Sequence[Sequence[str]], ours: Sequence[Sequence[str]], peer: Sequence[Sequence[str]]
) -> Row:
    """Write both error rates into a row; it does not hold if ours is the higher. Texts are letters, or words."""
    mine, theirs = (sum(rate.errors for rate in map(error_rate, meant, found)) for found in (ours, peer))
    total = sum(map(len, meant))
    rates = f"error {mine / total:.2%}, the peer's {theirs / total:.2%}"
    row = replace(row, against=f"{row.against}; {rates}")
    return replace(row, holds=False, why=rates) if mine > theirs and row.bar is not None else row
