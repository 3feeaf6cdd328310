"""Beam search over words against enumeration of all paths, with a language model's scores by definition."""

from __future__ import annotations

import math
from pathlib import Path

import ngram_oracle as ngram
import pytest
import torch
from ctc_oracle import random_log_probs
from fairseq.data import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq_parp.decoding import Hypothesis, LanguageModel
from fairseq_parp.decoding.lexicon_beam import LexiconBeamDecoder

pytestmark = ngram.NEEDS_FLASHLIGHT

NUMBER = {symbol: number for number, symbol in enumerate(ngram.SYMBOLS)}
EVERYTHING = 5000


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ngram.write_arpa(tmp_path_factory.mktemp("lm") / "lm.arpa")


def decoder(
    arpa: Path, weight: float = 2.0, word_score: float = -1.0, beam: int = EVERYTHING, nbest: int | None = None
) -> LexiconBeamDecoder:
    made = LanguageModel(arpa, weight=weight, word_score=word_score).decoder(ngram.LETTERS, beam, nbest or beam)
    return LexiconBeamDecoder(made.lexicon, beam, made.nbest, weight, word_score, threshold=math.inf)


def decode(one: LexiconBeamDecoder, log_probs: Tensor) -> list[Hypothesis]:
    return one.search(log_probs[None], torch.tensor([len(log_probs)]))[0]


def text(hypothesis: Hypothesis) -> str:
    return "".join(ngram.SYMBOLS[symbol] for symbol in hypothesis.tokens.tolist())


def words(hypothesis: Hypothesis) -> tuple[str, ...]:
    assert not text(hypothesis) or text(hypothesis).endswith("|")
    return tuple(text(hypothesis).split("|")[:-1])


def peaked(path: str, certainty: float = 0.7) -> Tensor:
    """Log-probabilities in which each frame's symbol has that probability; ``-`` is the blank."""
    hot = torch.nn.functional.one_hot(torch.tensor([NUMBER.get(symbol, 0) for symbol in path]), 4)
    return torch.where(hot > 0, certainty, (1 - certainty) / 3).log()


@st.composite
def small_log_probs(draw: st.DrawFn) -> Tensor:
    """(T, 4) normalised log-probabilities, T to 5; now and then symbols that cannot be."""
    frames = draw(st.integers(0, 5))
    log_probs = random_log_probs(draw(st.integers(0, 10**6)), frames, 4).float()
    for frame, symbol in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=6)):
        if frame < frames:
            log_probs[frame, symbol] = -math.inf
    return log_probs


@pytest.mark.parametrize(("weight", "word_score"), [(2.0, -1.0), (0.0, 0.0), (0.7, 1.5)])
def test_a_beam_as_wide_as_can_be_finds_every_word_sequence_with_its_score(
    arpa: Path, weight: float, word_score: float
) -> None:
    one = decoder(arpa, weight, word_score)

    @given(small_log_probs())
    @settings(deadline=None, max_examples=25)
    def check(log_probs: Tensor) -> None:
        expected = ngram.word_sequences(log_probs, weight, word_score)
        found = decode(one, log_probs)
        scores = [hypothesis.score for hypothesis in found]
        assert scores == sorted(scores, reverse=True)
        if not expected:
            assert [(text(hypothesis), hypothesis.score) for hypothesis in found] == [("", -math.inf)]
            return
        assert {words(hypothesis): hypothesis.score for hypothesis in found} == pytest.approx(expected, abs=1e-4)
        assert len(found) == len(expected)
        for hypothesis in found:
            check_parts(hypothesis, log_probs)

    def check_parts(hypothesis: Hypothesis, log_probs: Tensor) -> None:
        starts = hypothesis.frames.tolist()
        assert starts == sorted(set(starts))
        padded = torch.cat((log_probs, torch.tensor([[0.0, 0.0, -math.inf, -math.inf]])))
        assert padded[hypothesis.frames, hypothesis.tokens].isfinite().all()
        assert len(hypothesis.positional_scores) == len(hypothesis.tokens) == len(starts)
        if starts:
            assert float(hypothesis.positional_scores.sum()) == pytest.approx(hypothesis.score)

    check()


def test_the_language_model_changes_what_is_found(arpa: Path) -> None:
    log_probs = peaked("AB|AB|", 0.5)
    log_probs[3:5] = peaked("BA", 0.4)  # a little less probable than "AB" the other way round
    log_probs[3, NUMBER["A"]] = log_probs[4, NUMBER["B"]] = math.log(0.45)
    assert words(decode(decoder(arpa, 0.0, 0.0), log_probs)[0]) == ("AB", "AB")
    assert words(decode(decoder(arpa, 2.0, 0.0), log_probs)[0]) == ("AB", "BA")


def test_a_word_that_begins_no_sentence_is_found_later(arpa: Path, tmp_path: Path) -> None:
    log_probs = peaked("BA|AB|", 0.9)
    restricted = tmp_path / "lm.arpa"
    restricted.write_text(ngram.arpa().replace("-0.3\t<s> AB", "-inf\t<s> AB"))
    found, usual = (decode(decoder(path), log_probs)[0] for path in (restricted, arpa))
    assert words(found) == words(usual) == ("BA", "AB")
    assert found.score == usual.score
    assert words(decode(decoder(restricted), peaked("AB|BA|", 0.9))[0])[:1] != ("AB",)


def test_no_possible_sentence_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The beam of 2 holds sentences that end in BA alone."""
    path = tmp_path / "lm.arpa"
    path.write_text(ngram.arpa().replace("-0.4\tBA </s>", "-inf\tBA </s>"))
    log_probs = peaked("AB|BA|", 1 - 1e-7)
    assert [(text(found), found.score) for found in decode(decoder(path, beam=2), log_probs)] == [("", -math.inf)]
    assert "an utterance's text is empty: no sentence that the beam holds has a probability above 0" in caplog.text


def test_word_scores_change_how_many_words_are_found(arpa: Path) -> None:
    log_probs = torch.full((9, 4), 0.25).log()
    few, many = (words(decode(decoder(arpa, 0.0, score), log_probs)[0]) for score in (-1.0, 1.0))
    assert (len(few), len(many)) == (0, 5)


@pytest.mark.parametrize(
    ("path", "expected", "frames"),
    [
        ("AB|", "AB|", [0, 1, 2]),
        ("-AB--", "AB|", [1, 2, 5]),  # the end of the audio ends the word
        ("AA|", "A|", [0, 2]),
        ("A-A|", "AA|", [0, 2, 3]),
        ("||AB|-|BA|", "AB|BA|", [2, 3, 4, 7, 8, 9]),  # boundaries that end no word are no labels
        ("----", "", []),
        ("|", "", []),
        ("", "", []),
    ],
)
def test_labels_and_where_they_start(arpa: Path, path: str, expected: str, frames: list[int]) -> None:
    best = decode(decoder(arpa, 0.0, 0.0), peaked(path, 0.999) if path else torch.zeros(0, 4))[0]
    assert (text(best), best.frames.tolist()) == (expected, frames)


def test_a_labels_positional_score_is_its_frames_and_a_words_last_one_has_the_language_model(arpa: Path) -> None:
    log_probs = random_log_probs(4, 5, 4) + peaked("-A|BA", 0.9999)
    best = decode(decoder(arpa, 2.0, -1.0), log_probs)[0]
    assert words(best) == ("A", "BA")
    at = log_probs.float().double()
    first = 2 * (-0.3 - 0.8) - 1
    second = 2 * (-0.2 - 0.7) - 1 + 2 * -0.4
    expected = [at[0, 0] + at[1, 2], at[2, 1] + first, at[3, 3], at[4, 2], second]
    assert best.positional_scores.tolist() == pytest.approx([float(x) for x in expected], abs=1e-5)


def test_where_no_word_fits_the_finished_words_are_found(arpa: Path, tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("AB\nBA\n")
    log_probs = peaked("AB|A", 0.9)
    log_probs[2:] = peaked("|A", 1.0)  # certain, and no word is spelled A
    (best,) = decode(LanguageModel(arpa, lexicon).decoder(ngram.LETTERS, 50), log_probs)
    assert (text(best), best.frames.tolist()) == ("AB|", [0, 1, 2])
    assert float(best.positional_scores.sum()) == pytest.approx(best.score)


def test_utterances_of_a_batch_do_not_see_each_other_nor_their_padding(arpa: Path) -> None:
    batch = random_log_probs(7, 3, 5, 4)
    one, lengths = decoder(arpa), torch.tensor([5, 0, 3])
    together = one.search(batch, lengths)
    alone = [decode(one, batch[row, :length])[0] for row, length in enumerate(lengths.tolist())]
    assert [text(best[0]) for best in together] == [text(best) for best in alone]
    assert [best[0].score for best in together] == [best.score for best in alone]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_and_layout(arpa: Path, dtype: torch.dtype) -> None:
    log_probs = peaked("AB|BA|", 0.9).to(dtype)
    shuffled = log_probs.t().contiguous().t()
    assert not shuffled.is_contiguous()
    assert words(decode(decoder(arpa), shuffled)[0]) == ("AB", "BA")


def test_nbest_is_a_limit(arpa: Path) -> None:
    log_probs = random_log_probs(3, 5, 4)
    every = decode(decoder(arpa), log_probs)
    assert len(every) > 3
    assert [text(one) for one in decode(decoder(arpa, nbest=3), log_probs)] == [text(one) for one in every[:3]]


def test_spellings_that_two_words_share_are_found_once(tmp_path: Path, arpa: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("A\tA B |\nAB\tA B |\nBA\tB A |\nBA\tB B A |\n")
    best = LanguageModel(arpa, lexicon).decoder(ngram.LETTERS, 50, 50)
    found = [text(hypothesis) for hypothesis in decode(best, peaked("AB|", 0.6))]
    assert len(found) == len(set(found)) > 1
    assert found[0] == "AB|"


def test_a_word_is_written_as_itself_whatever_spelling_was_found(tmp_path: Path, arpa: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("BA\tB A |\nBA\tA A B |\nA\tB |\nAB\tA B |\n")
    (best,) = decode(LanguageModel(arpa, lexicon, 0, 0).decoder(ngram.LETTERS, 50), peaked("-AAB||-B|", 0.99))
    assert words(best) == ("AB", "A")
    (best,) = decode(LanguageModel(arpa, lexicon, 0, 0).decoder(ngram.LETTERS, 50), peaked("A-AB|-B|", 0.99))
    assert words(best) == ("BA", "A")
    assert best.frames.tolist() == [0, 2, 4, 6, 7]
    assert float(best.positional_scores.sum()) == pytest.approx(best.score)
    assert len(set(best.positional_scores[:3].tolist())) == 1


def test_a_word_that_its_letters_cannot_spell_is_written_as_its_first_spelling(tmp_path: Path) -> None:
    lm, lexicon = tmp_path / "lm.arpa", tmp_path / "lexicon.txt"
    lm.write_text(ngram.arpa().replace("\tBA\t", "\tÄ\t").replace("BA", "Ä"))
    lexicon.write_text("Ä\tB A |\nÄ\tB B |\n")
    best = decode(LanguageModel(lm, lexicon, 0, 0).decoder(ngram.LETTERS, 50), peaked("B-B|", 0.99))[0]
    assert words(best) == ("BA",)


def test_special_symbols_are_never_found(arpa: Path) -> None:
    dictionary = Dictionary()
    for symbol in "|AB":
        dictionary.add_symbol(symbol)
    special = torch.tensor([dictionary.pad(), dictionary.eos(), dictionary.unk()])
    log_probs = random_log_probs(1, 30, len(dictionary))
    log_probs[:, special] += 2
    for hypothesis in decode(LanguageModel(arpa).decoder(dictionary, 50, 50), log_probs):
        assert hypothesis.score > -math.inf
        assert not torch.isin(hypothesis.tokens, torch.cat((special, torch.tensor([dictionary.bos()])))).any()
