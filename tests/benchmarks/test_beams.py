"""The rows of decoding: what they decode, how they judge, and what they say where there is no peer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import editdistance
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import pyctcdecode as peer
from benchmarks import run, words
from benchmarks.beams import TORCH, judged, texts_of
from benchmarks.cost import Cost
from benchmarks.emissions import ALPHABET, make
from benchmarks.rows import Bar, compare
from benchmarks.weights import Size
from fairseq_parp.decoding import GreedyDecoder, PrefixBeamDecoder, vocabulary

MADE = make(6, 200)


def words_of(texts: list[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def error(texts: list[str]) -> float:
    return sum(map(editdistance.eval, texts, MADE.texts)) / sum(map(len, MADE.texts))


def test_emissions_are_like_a_models() -> None:
    every: NDArray[np.float32] = np.concatenate(MADE.log_probs)
    assert every.dtype == np.float32
    assert every.shape[1] == len(ALPHABET) == 32
    assert max(map(len, MADE.log_probs)) <= 200
    np.testing.assert_allclose(np.exp(every).sum(1), 1, atol=1e-5)
    only_blank = (every[:, 0] >= -5) & ((every >= -5).sum(1) == 1)
    assert 0.4 < only_blank.mean() < 0.8
    assert all(np.array_equal(one, other) for one, other in zip(MADE.log_probs, make(6, 200).log_probs, strict=True))


def test_the_best_path_errs_and_a_beam_errs_no_more() -> None:
    greedy = error(texts_of(GreedyDecoder(0), MADE, 1)())
    assert 0.03 < greedy < 0.25
    assert error(texts_of(PrefixBeamDecoder(0, 10), MADE, 4)()) <= greedy


@pytest.mark.parametrize(("ours", "holds"), [(["abc", "d"], True), (["abc", "x"], True), (["abx", "x"], False)])
def test_more_errors_than_the_peer_are_a_miss(ours: list[str], holds: bool) -> None:
    row = compare("r", Bar(10, faster=True), "p", [Cost(1, 1)] * 2, [Cost(11, 11)] * 2)
    one = judged(row, ["abc", "d"], ours, ["abc", "x"])
    assert one.holds is holds
    assert one.against.endswith("the peer's 25.00%")
    assert (one.why is None) == holds


def test_without_the_peer_the_row_is_null_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (row,) = run.bench(TORCH, tmp_path / "rows.json", Size(1, 16))
    assert row.holds is None
    assert math.isnan(row.ratio)
    (written,) = json.loads((tmp_path / "rows.json").read_text())
    assert (written["name"], written["ratio"], written["peer"]) == (TORCH, None, None)
    assert "cannot be installed into" in written["why"]
    assert f"null: {written['why']}" in capsys.readouterr().out


def test_the_language_model_of_the_rows_finds_more_words() -> None:
    pytest.importorskip("flashlight")
    with words.made_up(6, 200) as (made, lm):
        known = set(vocabulary.words_of(lm.path))
        assert len(known) > 300
        decoders = (lm.decoder(words.labels_of(made), 20), GreedyDecoder(0))
        found, greedy = (words_of(texts_of(one, made, 1)()) for one in decoders)
    mistakes, greedy_mistakes = (sum(map(editdistance.eval, each, words_of(MADE.texts))) for each in (found, greedy))
    assert mistakes < greedy_mistakes / 2
    assert {word for line in found for word in line} <= known


def test_the_bigrams_of_the_rows_are_a_probability(tmp_path: Path) -> None:
    words.write_bigrams(tmp_path / "lm.arpa", ["a b", "a c", "b"])
    lines = [line.split("\t") for line in (tmp_path / "lm.arpa").read_text().splitlines() if "\t" in line]
    one = {line[1]: (10 ** float(line[0]), 10 ** float(line[2])) for line in lines if len(line) == 3}
    two = {line[1]: 10 ** float(line[0]) for line in lines if len(line) == 2}
    for first in ("<s>", "a", "b", "c"):
        after = [two.get(f"{first} {second}", one[first][1] * one[second][0]) for second in ("a", "b", "c", "</s>")]
        assert sum(after) == pytest.approx(1, abs=1e-4)


def test_the_peer_takes_a_large_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = tmp_path / "python"
    starts.write_text("#!/bin/sh\ngrep -o '\"word\"' $5 | wc -l\n")
    starts.chmod(0o755)
    monkeypatch.setattr(peer, "environment", lambda _needs: starts)
    with peer.pyctcdecode([np.zeros((1, 2), np.float32)], ["", "A"], 10, unigrams=["word"] * 1_000_000) as decoder:
        assert decoder.version == "1000000"
