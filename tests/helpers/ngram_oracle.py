"""A tiny 2-gram language model: as an ARPA file, as KenLM's binary of it, and by the definition of back-off."""

from __future__ import annotations

import base64
import importlib.util
import itertools
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from ctc_oracle import BLANK, collapse, path_scores
from torch import Tensor

NEEDS_FLASHLIGHT = pytest.mark.skipif(
    importlib.util.find_spec("flashlight") is None, reason="flashlight-text has no wheel for this Python"
)

SYMBOLS = ["<s>", "|", "A", "B"]
LETTERS = SimpleNamespace(symbols=SYMBOLS, nspecial=1, bos=lambda: BLANK)
"""A dictionary with one special symbol, so that every path of a few frames can be looked at."""

UNIGRAMS = {
    "<s>": (-99.0, -0.3),
    "</s>": (-1.0, 0.0),
    "<unk>": (-0.1, 0.0),
    "A": (-0.8, -0.2),
    "AB": (-0.5, -0.4),
    "AA": (-1.1, 0.0),
    "BA": (-0.7, -0.1),
}
"""log10 of a word's probability, and of its back-off weight."""

BIGRAMS = {("<s>", "AB"): -0.3, ("AB", "BA"): -0.2, ("BA", "</s>"): -0.4, ("A", "A"): -0.25}
WORDS = ["A", "AB", "AA", "BA"]

BINARY = zlib.decompress(
    base64.b85decode(
        "c-qU&O)OBz$yLZGDJihh*U!#KO-##7%}LQq&d=3P&QD2INXswEO)OC;OD!tS%+FIW<zhg9274f}pAks>2Lg}?BUFY7OdhaD7GsCf"
        "EDWfCodGxC%K84Ww)jCd$UOFjF8@nhqUOv%_KKI5hClDV`OS()uX?eD@rCI<)oeg^L7n1W%eGRmTYesU%Xa+xEH98d&Yn557vvEJ"
        "hGU0j&78Rp>ZgXYXMF5|7|3S;(r5OaJ=3!vByMbMY!B4~22w7b>tBc-V1nqy4s6#fKlIW=&<JGS<Ri<>1@HGy0UEW>TBLCPjI<DA"
        "koh*HdD(UhHpM`!4<sBJ9Gw^(9T}V)830&hX8Z"
    )
)
"""What ``build_binary probing`` of KenLM makes of :data:`ARPA`."""


def arpa() -> str:
    sections = [
        [f"{p}\t{word}\t{backoff}" for word, (p, backoff) in UNIGRAMS.items()],
        [f"{p}\t{' '.join(pair)}" for pair, p in BIGRAMS.items()],
    ]
    counts = [f"ngram {order}={len(lines)}" for order, lines in enumerate(sections, 1)]
    grams = [f"\n\\{order}-grams:\n" + "\n".join(lines) for order, lines in enumerate(sections, 1)]
    return "\n\\data\\\n" + "\n".join(counts) + "\n" + "\n".join(grams) + "\n\n\\end\\\n"


def write_arpa(path: Path) -> Path:
    path.write_text(arpa())
    return path


def sentence_score(words: Sequence[str]) -> float:
    """log10 of a sentence's probability, its end included."""
    return sum(
        BIGRAMS.get((last, word), UNIGRAMS[last][1] + UNIGRAMS[word][0])
        for last, word in itertools.pairwise(["<s>", *words, "</s>"])
    )


def word_sequences(log_probs: Tensor, weight: float, word_score: float) -> dict[tuple[str, ...], float]:
    """Score of every sequence of the words that some path of (T, C) log-probabilities spells."""
    found: dict[tuple[str, ...], float] = {}
    for path, score in path_scores(log_probs).items():
        text = "".join(SYMBOLS[symbol] for symbol in collapse(path))
        words = tuple(word for word in text.split("|") if word)
        if set(words) <= set(WORDS):
            total = score + weight * sentence_score(words) + word_score * len(words)
            found[words] = max(total, found.get(words, total))
    return found
