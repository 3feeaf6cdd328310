"""Language models and lexicons as files, good and bad, and what is asked of them."""

from __future__ import annotations

import bz2
import gzip
import logging
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ngram_oracle as ngram
import pytest
from fairseq.data import Dictionary

from fairseq_parp.decoding import LanguageModel, build_generator
from fairseq_parp.decoding.lexicon import Speller, read_lexicon
from fairseq_parp.decoding.validation import take_language_model
from fairseq_parp.decoding.vocabulary import words_of
from fairseq_parp.errors import ConfigError, LanguageModelError, MissingToolError

pytestmark = ngram.NEEDS_FLASHLIGHT

ARPA = ngram.arpa().encode()


def with_2_grams(lines: bytes) -> bytes:
    """The model with other 2-grams."""
    head = ARPA.split(b"\\2-grams:\n")[0].replace(b"ngram 2=4", b"ngram 2=%d" % len(lines.splitlines()))
    return head + b"\\2-grams:\n" + lines + b"\n\\end\\\n"


NO_BEGINNING = with_2_grams(b"".join(b"-inf\t<s> %s\n" % word.encode() for word in ngram.WORDS))
NO_END = with_2_grams(b"".join(b"-inf\t%s </s>\n" % word.encode() for word in ngram.WORDS))
PRUNED = (
    with_2_grams(b"-0.2\tAB BA\n")
    .replace(b"ngram 2=1\n", b"ngram 2=1\nngram 3=1\n")
    .replace(b"\\end", b"\\3-grams:\n-0.1\tBA AA A\n\n\\end")
)
"""A 3-gram whose own beginning is not among the 2-grams."""

NEG_INF = re.sub(rb"-\S+(\t[AB]+)", rb"-inf\1", ARPA.replace(b"-0.3\t<s> AB", b"-inf\t<s> AB"))


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    return write(tmp_path / "lm.arpa", ARPA)


def words_found(path: Path, lexicon: Path | None = None) -> list[str]:
    return list(LanguageModel(path, lexicon).decoder(ngram.LETTERS, 5).lexicon.words)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("lm.arpa", ARPA),
        ("lm.arpa.gz", gzip.compress(ARPA, mtime=0)),
        ("windows.arpa", ARPA.replace(b"\n", b"\r\n")),
        ("irstlm.lm", ARPA.replace(b"ngram 1=7", b"ngram  1=         7").replace(b"\\1-grams", b"\n\\1-grams")),
    ],
)
def test_all_words_are_spelled_by_their_letters(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    decoder = LanguageModel(path).decoder(ngram.LETTERS, 5)
    assert sorted(decoder.lexicon.words) == sorted(ngram.WORDS)
    assert dict(decoder.lexicon.entries)["AB"] == (2, 3, 1)
    model, number = decoder.lexicon.model, decoder.lexicon.words.index("AB")
    assert model.score(model.start(False), number)[1] == pytest.approx(-0.3)


def test_words_that_cannot_be_spelled_are_named(caplog: pytest.LogCaptureFixture, arpa: Path) -> None:
    write(arpa, ARPA.replace(b"\tAA\t", b"\tA|\t"))
    with caplog.at_level(logging.WARNING):
        assert sorted(words_found(arpa)) == ["A", "AB", "BA"]
    assert "1 words cannot be spelled in the model's labels: A|; they will never be found" in caplog.text


def test_a_word_with_another_spelling_is_not_named_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arpa: Path
) -> None:
    lexicon = write(tmp_path / "lexicon.txt", "AB\nA\tQ |\nA\tA |\n")
    with caplog.at_level(logging.WARNING):
        assert words_found(arpa, lexicon) == ["AB", "A"]
    assert "never be found" not in caplog.text
    assert f"{lexicon}: spellings in labels that the model lacks are left out: A" in caplog.text


def test_words_that_the_language_model_does_not_know_are_never_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arpa: Path
) -> None:
    lexicon = write(tmp_path / "lexicon.txt", "AB\nBB\nA\tA |\n")
    with caplog.at_level(logging.WARNING):
        assert words_found(arpa, lexicon) == ["AB", "A"]
    assert "lexicon.txt are unknown to it: BB; they will never be found" in caplog.text


def test_words_of_probability_0_are_named(caplog: pytest.LogCaptureFixture, arpa: Path) -> None:
    write(arpa, ARPA.replace(b"-0.8\tA\t", b"-inf\tA\t"))
    with caplog.at_level(logging.WARNING):
        assert "A" in words_found(arpa)
    assert "1 words have probability 0: A; they will never be found" in caplog.text


@pytest.mark.parametrize(
    ("line", "where"), [(b"-inf\t<s> AB\n", "after <s>: AB"), (b"-inf\tBA </s>\n", "before </s>: BA")]
)
def test_words_that_cannot_begin_or_end_a_sentence_are_named(
    caplog: pytest.LogCaptureFixture, arpa: Path, line: bytes, where: str
) -> None:
    write(arpa, with_2_grams(line))
    with caplog.at_level(logging.WARNING):
        assert sorted(words_found(arpa)) == sorted(ngram.WORDS)
    assert f"1 words have probability 0 {where}; they will never be found there" in caplog.text


def test_lines_of_a_lexicon_with_other_labels_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arpa: Path
) -> None:
    lexicon = write(tmp_path / "lexicon.txt", "AB\nA\tQ X |\nÄ\nBA\t<s> A |\nAA\tA A |\n")
    with caplog.at_level(logging.WARNING):
        assert words_found(arpa, lexicon) == ["AB", "AA"]
    assert f"3 words of {lexicon} cannot be spelled in the model's labels: A, Ä, BA; they will never" in caplog.text
    write(lexicon, "Q\nBB\n")
    with pytest.raises(
        LanguageModelError, match=r"no word can be found, as 1 words .* unknown to it: BB and 1 words .*Q"
    ):
        words_found(arpa, lexicon)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.arpa", None, "none.arpa: no such file"),
        ("empty.arpa", b"", "neither ARPA nor a KenLM binary"),
        ("text.arpa", b"hello\n", "neither ARPA nor a KenLM binary"),
        ("lm.arpa.bz2", bz2.compress(ARPA), "neither ARPA nor a KenLM binary"),
        ("cut.arpa.gz", gzip.compress(ARPA, mtime=0)[:-20], "cannot be read"),
        ("damaged.arpa.gz", gzip.compress(ARPA, mtime=0)[:30] + b"garbage", "cannot be read"),
        ("cut.arpa", ARPA[:130], "KenLM cannot load it .*End of file"),
        ("number.arpa", ARPA.replace(b"-0.8", b"x"), 'KenLM cannot load it .*Could not parse "x"'),
        ("count.arpa", ARPA.replace(b"1=7", b"1=8"), "KenLM cannot load it"),
        ("bytes.arpa", ARPA.replace(b"-0.8", b"\xff\xfe"), "KenLM cannot load it"),
        ("pruned.arpa", PRUNED, "KenLM cannot load it .*Avoid pruning n-grams"),
        ("start.arpa", ARPA.replace(b"<s>", b"ABA"), "KenLM cannot load it .*missing <s>"),
        ("latin.arpa", ARPA.replace(b"\tA\t", b"\t\xc4\t"), "a word is not UTF-8 text"),
        ("end.arpa", ARPA.replace(b"-1.0\t</s>", b"-inf\t</s>"), "1-gram </s> has probability 0"),
        ("ends.arpa", ARPA.replace(b"\tAA\t", b"\t</s>\t"), "more than one n-gram of </s>; keep one"),
        ("twice.arpa", ARPA.replace(b"\tAA\t", b"\tA\t"), "more than one n-gram of A; keep one"),
        (
            "pair.arpa",
            with_2_grams(b"-0.2\tAB BA\n-1\tA A\n-3\tAB BA\n"),
            "more than one n-gram of AB BA; keep one",
        ),
        ("spaces.arpa", with_2_grams(b"-0.2\tAB BA\n-3 AB  BA\n"), "more than one n-gram of AB BA; keep one"),
        ("tiny.arpa", ARPA.replace(b"-1.0\t</s>", b"-1e30\t</s>"), ":8: -1e30 beside </s>: log10 of a probability is"),
        ("pairs.arpa", with_2_grams(b"-1e30\tAB BA\n"), ":16: -1e30 beside AB BA: log10 of a probability is"),
        ("backoff.arpa", ARPA.replace(b"\tAB\t-0.4", b"\tAB\t1e30"), ":11: 1e30 beside AB: log10 of a probability is"),
        ("begin.arpa", NO_BEGINNING, r"every word has probability 0 .-inf. after <s>: A, AB"),
        ("no_end.arpa", NO_END, r"every word has probability 0 .-inf. before </s>: A, AB"),
        ("never.arpa", NEG_INF, r"every word has probability 0 .-inf.: A, AB"),
        ("lm.bin", ngram.BINARY, "the words of a KenLM binary are not read; give --lexicon"),
    ],
)
def test_a_bad_language_model_is_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(LanguageModelError, match=message) as caught:
        words_found(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_binary_finds_the_words_of_the_lexicon_that_it_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    binary = write(tmp_path / "lm.bin", ngram.BINARY)
    lexicon = write(tmp_path / "lexicon.txt", "AB\nBB\nA\nBA\nAA\nBAB\n</s>\tA |\n")
    with caplog.at_level(logging.WARNING):
        assert words_found(binary, lexicon) == ["AB", "A", "BA", "AA"]
    assert f"3 words of {lexicon} are unknown to it: BB, BAB, </s>; they will never be found" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        ngram.BINARY[:100],
        ngram.BINARY[: ngram.BINARY.rfind(b"<unk>")],
        ngram.BINARY.replace(b"version 5", b"version 4"),
    ],
)
def test_a_damaged_binary_is_one_line(tmp_path: Path, content: bytes) -> None:
    binary = write(tmp_path / "lm.bin", content)
    with pytest.raises(LanguageModelError, match=r"lm\.bin: KenLM cannot load it"):
        words_found(binary, write(tmp_path / "lexicon.txt", "AB\n"))


def test_a_folder_is_no_language_model(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="a folder; name a file in it"):
        words_of(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "lexicon.txt: no such file"),
        (b"", "lexicon.txt: has no words"),
        (b"\xff\n", "not UTF-8 text"),
        ("AB\tA B |\nA\tA\n", r"lexicon.txt:2: A: a spelling must be labels and then one \|"),
        ("A\t|\n", r"lexicon.txt:1: A: a spelling must be"),
        ("A\tA | |\n", r"lexicon.txt:1: A: a spelling must be"),
        ("A\t| A |\n", r"lexicon.txt:1: A: a spelling must be"),
        ("A\tA |\nA A |\n", r"lexicon.txt:2: A: the same word and spelling as in line 1"),
        ("A\nA\tA |\n", r"lexicon.txt:2: A: the same word and spelling as in line 1"),
        ("".join(f"A{n}\tA |\n" for n in range(7)), "7 words of one spelling .A0, A1, .* 6 are allowed"),
    ],
)
def test_a_bad_lexicon_names_its_line(tmp_path: Path, arpa: Path, content: bytes | str | None, message: str) -> None:
    path = tmp_path / "lexicon.txt"
    if content is not None:
        write(path, content)
    with pytest.raises(LanguageModelError, match=message) as caught:
        words_found(arpa, path)
    assert str(caught.value).startswith(str(path))


def test_spaces_tabs_and_empty_lines_of_a_lexicon(tmp_path: Path) -> None:
    path = write(tmp_path / "lexicon.txt", "AB\tA B |\n\nBA B A |\r\n  AA   A\tA  |\nA")
    entries, left = read_lexicon(path, Speller(ngram.LETTERS))
    assert left == []
    assert [word for word, _ in entries] == ["AB", "BA", "AA", "A"]
    assert [spelling for _, spelling in entries] == [(2, 3, 1), (3, 2, 1), (2, 2, 1), (2, 1)]


def test_other_letters_than_the_models_leave_no_word(tmp_path: Path) -> None:
    small = write(tmp_path / "small.arpa", ARPA.lower())
    with pytest.raises(
        LanguageModelError, match=r"no word can be found, as 4 words cannot be spelled .*: a, ab, aa, ba"
    ):
        words_found(small)


def test_labels_without_a_word_boundary(arpa: Path) -> None:
    phones = Dictionary()
    phones.add_symbol("aa")
    with pytest.raises(ConfigError, match=r"labels='aa': a language model needs the word boundary \|"):
        LanguageModel(arpa).decoder(phones, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": float("nan")}, "LM weight=nan: must be a number"),
        ({"weight": -1.0}, "LM weight=-1.0"),
        ({"word_score": float("inf")}, "word score=inf"),
    ],
)
def test_numbers_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LanguageModel("lm.arpa", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("lexicon.txt", None, None), "lexicon='lexicon.txt': is for a language model, and none is given"),
        ((None, 0.0, None), "LM weight=0.0: is for a language model"),
        ((None, 2.0, 3.0), "word score=3.0: is for a language model"),
    ],
)
def test_options_without_a_language_model_are_refused(options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LanguageModel.if_named(None, *options)


def test_defaults_are_those_of_n_grams() -> None:
    assert LanguageModel.if_named(None, None, 2.0, -1.0) is None
    assert LanguageModel.if_named("", "", None, None) is None
    assert LanguageModel.if_named("a", None, None, None) == LanguageModel("a", None, 2.0, -1.0)
    assert LanguageModel.if_named("a", "b", 0.0, 0.0) == LanguageModel("a", "b", 0.0, 0.0)


@pytest.mark.parametrize(("beam", "nbest", "message"), [(1, 1, "beam=1: .* 50 is usual"), (4, 5, "nbest=5")])
def test_a_beam_is_needed(arpa: Path, beam: int, nbest: int, message: str) -> None:
    args = SimpleNamespace(beam=beam, nbest=nbest)
    with pytest.raises(ConfigError, match=message):
        build_generator(ngram.LETTERS, args, LanguageModel(arpa))


def test_without_flashlight_there_is_a_hint(arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "flashlight"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flashlight", None)
    with pytest.raises(MissingToolError, match="needs flashlight-text: pip install flashlight-text"):
        words_found(arpa)


@pytest.mark.parametrize(
    "args", ["lm", "('lm', 'lexicon', 2)", "('lm', 'lexicon', 'x', 1)", "('lm', 'lexicon', None, 1)"]
)
def test_arguments_of_a_criterion_that_are_no_tuple_of_four(args: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"criterion.wer_args={args!r}: must be a tuple")):
        take_language_model(SimpleNamespace(wer_args=args))


def test_a_criterion_takes_numbers_as_text_and_refuses_what_has_no_language_model() -> None:
    plain, lm = take_language_model(SimpleNamespace(wer_args="('lm', 'lexicon', '3', -2)", wer_kenlm_model=None))
    assert (plain.wer_args, lm) == (None, LanguageModel("lm", "lexicon", 3.0, -2.0))
    with pytest.raises(ConfigError, match=r"lexicon='words.txt': is for a language model, and none is given"):
        take_language_model(SimpleNamespace(wer_lexicon="words.txt"))
    assert take_language_model(SimpleNamespace(wer_lm_weight=2.0, wer_word_score=-1.0))[1] is None


def test_loading_writes_nothing_to_standard_error(arpa: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """KenLM draws its bar from C++; what was standard error before is standard error afterwards."""
    assert words_found(arpa)
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"
