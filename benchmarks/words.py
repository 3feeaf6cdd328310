"""Rows: search over words with an n-gram language model beside pyctcdecode's, at three beams: speed against errors.

Both decode the same emissions with the same language model and the same weights: made-up emissions with a 2-gram model,
or those of a user's recordings and model. A row with a bar holds only if our words have no more errors than the peer's.
"""

from __future__ import annotations

import contextlib
import functools
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

from benchmarks.beams import LONGEST, UTTERANCES, judged, texts_of
from benchmarks.emissions import Emissions, make
from benchmarks.pyctcdecode import pyctcdecode
from benchmarks.recordings import Recordings
from benchmarks.rows import NO_BAR, Bar, Job, Row, compare, in_turn, unmeasured
from benchmarks.weights import Size
from fairseq_parp.decoding import LanguageModel
from fairseq_parp.decoding.vocabulary import words_of
from fairseq_parp.demo.sentences import sentences
from fairseq_parp.errors import MissingToolError

BEAMS = (10, 50, 200)
JUDGED = 50
SENTENCES, DISCOUNT = 3000, 0.5

_SPECIALS = 3
"""The alphabet's last symbols, which are never meant."""

Source = Callable[[], AbstractContextManager[tuple[Emissions, LanguageModel]]]


def jobs(size: Size | None = None, recordings: Recordings | None = None) -> Iterator[Job]:
    """Yield the jobs, on ``recordings`` where there are some; tests, which give a ``size``, get little made-up text."""
    source: Source = functools.partial(made_up, *((2, 60) if size else (UTTERANCES, LONGEST)))
    what = "with a 2-gram LM"
    if recordings:
        heard = recordings.read()
        source, what = lambda: contextlib.nullcontext(heard), f"of {recordings.split.name}"
    for beam in BEAMS:
        name = f"search over words {what}, beam {beam}"
        bar = Bar(1.0, faster=True) if beam == JUDGED else NO_BAR
        yield Job([name], functools.partial(_row, name, bar, beam, source))


def _row(name: str, bar: Bar, beam: int, source: Source) -> Iterator[Row]:
    try:
        with source() as (made, lm):
            ours = texts_of(lm.decoder(labels_of(made), beam), made, 1)
            same = {
                "kenlm_model_path": str(lm.path),
                "unigrams": words_of(lm.path),
                "alpha": lm.weight / math.log(10),  # of natural logarithms
                "beta": lm.word_score,
            }
            with pyctcdecode(made.log_probs, made.alphabet, beam, **same) as peer:
                times = in_turn(lambda: None, ours, peer.decode, [bar])
                row = compare(name, bar, f"pyctcdecode {peer.version}", *times)
                yield judged(row, *([text.split() for text in found] for found in (made.texts, ours(), peer.decode())))
    except (MissingToolError, OSError) as error:
        yield unmeasured(name, bar, "pyctcdecode", str(error))


def labels_of(made: Emissions) -> SimpleNamespace:
    """Return the alphabet in fairseq's words."""
    return SimpleNamespace(symbols=["<s>", "|", *made.alphabet[2:]], nspecial=1, bos=lambda: 0)


@contextlib.contextmanager
def made_up(utterances: int, longest: int) -> Iterator[tuple[Emissions, LanguageModel]]:
    """Give made-up emissions and a 2-gram model of such text, which is there until the block ends."""
    made = make(utterances, longest)
    log_probs = [each[:, :-_SPECIALS] for each in made.log_probs]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lm.arpa"
        write_bigrams(file, sentences(SENTENCES, random.Random(1)))
        yield replace(made, log_probs=log_probs, alphabet=made.alphabet[:-_SPECIALS]), LanguageModel(file)


def write_bigrams(file: Path, text: Sequence[str]) -> None:
    """Write a 2-gram model with interpolated absolute discounting (Ney et al. 1994) as ARPA.

    It gives both decoders the same work. For real use, train a language model with irstlm or KenLM (docs/decoding.md).
    """
    lines = [["<s>", *line.split(), "</s>"] for line in text]
    singles = Counter(word for line in lines for word in line[1:])
    pairs = Counter(pair for line in lines for pair in pairwise(line))
    before = Counter(word for line in lines for word in line[:-1])
    followers = Counter(first for first, _ in pairs)
    total = sum(singles.values())
    left = {word: DISCOUNT * followers[word] / count for word, count in before.items()}
    known = ["<unk>", "<s>", *singles]

    def unigram(word: str) -> str:
        probability = math.log10(singles[word] / total) if singles[word] else -99.0
        return f"{probability:.6f}\t{word}\t{math.log10(left.get(word, 1.0)):.6f}"

    def bigram(first: str, second: str) -> str:
        seen = (pairs[first, second] - DISCOUNT) / before[first]
        return f"{math.log10(seen + left[first] * singles[second] / total):.6f}\t{first} {second}"

    file.write_text("\n".join([
        "\\data\\", f"ngram 1={len(known)}", f"ngram 2={len(pairs)}", "",
        "\\1-grams:", *map(unigram, known), "",
        "\\2-grams:", *(bigram(*pair) for pair in pairs), "",
        "\\end\\", "",
    ]))  # fmt: skip
