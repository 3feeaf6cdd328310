"""UER and WER of fairseq-generate's files: golden cases, and against fairseq's own validation."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import editdistance
import pytest
import torch
from ctc_oracle import random_log_probs
from fairseq.criterions.ctc import CtcCriterion, CtcCriterionConfig
from fairseq.data import Dictionary
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairseq_parp.cli import main
from fairseq_parp.cli import score as command
from fairseq_parp.decoding import build_generator
from fairseq_parp.errors import ConfigError
from fairseq_parp.scoring import ErrorRate, ResultsError, Score, Utterance, error_rate, score_file, score_utterances


def results(folder: Path, *lines: str) -> Path:
    path = folder / "generate-test.txt"
    path.write_text("\n".join([*lines, "Generate test with beam=1: WER: 0.00", ""]))
    return path


LETTERS = (
    "T-1\tAN APPLE",
    "H-1\t-3.5\tA APPEL",
    "D-1\t-3.5\tA APPEL",
    "P-1\t-1.0 -2.5 -0.1 -0.1 -0.1 -0.1 -0.1 -0.1",
    "T-0\tNO",
    "H-0\t-1.25\t",
    "D-0\t-1.25\t",
    "P-0\t",
)
SYMBOLS = ("T-0\taa b | k", "H-0\t-1.0\taa | k", "D-0\t-1.0\taa | k", "T-1\tb |", "H-1\t-2\tb |", "D-1\t-2\tb |")
NO_ERROR = ErrorRate(0, 0, 0, 2)
PHONES = ("T-0\taa b k", "H-0\t-1.0\taa k k", "P-0\t-1 -1 -1", "T-1\tb", "H-1\t-2\tb", "P-1\t-1")


@pytest.mark.parametrize(
    ("lines", "units", "expected"),
    [
        # AN|APPLE| against A|APPEL|: N lost, LE for EL is two; NO| against nothing: three.
        (LETTERS, "letters", Score(2, ErrorRate(0, 1, 5, 12), ErrorRate(2, 0, 1, 3))),
        (SYMBOLS, "symbols", Score(2, ErrorRate(0, 0, 1, 6), ErrorRate(1, 0, 0, 3))),
        (PHONES, "symbols", Score(2, ErrorRate(1, 0, 0, 4), None)),
        # The unknown symbol is one unit, and the same in references and hypotheses.
        (("T-0\tA<<unk>> B", "D-0\t-1\tA<unk> C"), "letters", Score(1, ErrorRate(1, 0, 0, 5), ErrorRate(1, 0, 0, 2))),
        # With --nbest the first hypothesis counts; an inner double boundary is two units.
        (
            ("T-7\tA B", "D-7\t-1\tA  B", "D-7\t-2\tA B"),
            "letters",
            Score(1, ErrorRate(0, 1, 0, 4), ErrorRate(0, 0, 0, 2)),
        ),
        # What the tokenizer or BPE made of it (D-) is the text, where the two differ.
        (("T-0\ta b", "H-0\t-1\ta@@ b", "D-0\t-1\ta b"), "symbols", Score(1, ErrorRate(0, 0, 0, 2), None)),
        # References of boundaries alone have no words.
        (("T-0\t| |", "D-0\t-1\tA |"), "symbols", Score(1, ErrorRate(1, 0, 0, 2), None)),
        (
            ("T-0\t", "D-0\t-1\tA", "T-1\tB", "D-1\t-1\tB"),
            "letters",
            Score(2, ErrorRate(0, 2, 0, 2), ErrorRate(0, 1, 0, 1)),
        ),
    ],
)
def test_golden(tmp_path: Path, lines: tuple[str, ...], units: str, expected: Score) -> None:
    assert score_file(results(tmp_path, *lines), units) == expected


def test_each_utterance_has_its_own_counts(tmp_path: Path) -> None:
    assert score_utterances(results(tmp_path, *LETTERS)) == {
        1: Utterance(tuple("AN|APPLE|"), ErrorRate(0, 1, 2, 9), ErrorRate(2, 0, 0, 2)),
        0: Utterance(tuple("NO|"), ErrorRate(0, 0, 3, 3), ErrorRate(0, 0, 1, 1)),
    }
    assert score_utterances(results(tmp_path, *PHONES))[0] == Utterance(("aa", "b", "k"), ErrorRate(1, 0, 0, 3), None)


@pytest.mark.parametrize(("lines", "units"), [(LETTERS, "letters"), (SYMBOLS, "symbols"), (PHONES, "symbols")])
def test_the_kind_of_units_shows_in_the_file(tmp_path: Path, lines: tuple[str, ...], units: str) -> None:
    assert score_file(results(tmp_path, *lines)) == score_file(results(tmp_path, *lines), units)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("H-0\t-1\tA",), "has no references"),
        (("T-0\tA", "T-3\tB", "D-0\t-1\tA"), "no hypothesis .* for utterance 3"),
        (("T-0\tA", "T-0\tB", "D-0\t-1\tA"), "T-0 occurs twice"),
        (("T-0\t", "D-0\t-1\tA"), "every reference .* is empty"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        score_file(results(tmp_path, *lines), "letters")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"/none\.txt: no such file"):
        score_file(tmp_path / "none.txt")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ResultsError, match="not UTF-8 text"):
        score_file(tmp_path / "binary")


@pytest.mark.parametrize("lines", [("D-0\t-1\tA", "P-0\t-1"), ("D-0\t-1\tA B",)])
def test_the_kind_of_units_is_never_guessed_from_hypotheses(tmp_path: Path, lines: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--units=None: .* fits letters and symbols alike, or neither"):
        score_file(results(tmp_path, "T-0\tAB CD", *lines))


@pytest.mark.parametrize(
    ("reference", "score"),
    [
        ("HELLO WORLD", Score(1, ErrorRate(0, 0, 12, 12), ErrorRate(0, 0, 2, 2))),
        ("h ə l oʊ", Score(1, ErrorRate(0, 0, 4, 4), None)),
    ],
)
def test_a_model_that_emits_only_blanks_is_scored_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reference: str, score: Score
) -> None:
    file = results(tmp_path, f"T-0\t{reference}", "D-0\t-1\t", "P-0\t")
    assert score_file(file) == score
    assert main(["score", str(file)]) == 0
    shown = capsys.readouterr()
    assert "100.00 %" in shown.out
    assert shown.err.startswith("note: every hypothesis is empty: the model emits only blanks")
    assert "(--units)" in shown.err
    assert main(["score", str(file), "--units", "symbols"]) == 0
    assert "--units" not in capsys.readouterr().err


def test_graphemes_are_units(tmp_path: Path) -> None:
    file = results(tmp_path, "T-0\tBẠ́N Ạ́", "D-0\t-1\tBẠ́N É̂", "P-0\t-1 -1 -1 -1 -1 -1")
    assert score_file(file) == Score(1, ErrorRate(1, 0, 0, 6), ErrorRate(1, 0, 0, 2))
    assert score_file(file, "graphemes") == score_file(file)
    assert score_file(file, "letters") == Score(1, ErrorRate(2, 0, 0, 8), ErrorRate(1, 0, 0, 2))


def test_unknown_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="units='words': must be letters, graphemes or symbols"):
        score_file(results(tmp_path, *LETTERS), "words")


def test_errors_of_case_alone_are_counted_in_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ("T-0\tAB CD", "H-0\t-1\tab CX", "P-0\t0 0 0 0 0 0")
    (tmp_path / "g.txt").write_text("\n".join(lines) + "\n")
    assert main(["score", str(tmp_path / "g.txt")]) == 0
    shown = capsys.readouterr()
    assert "3 errors / 6 units" in shown.out
    assert "note: case counts: 2 of 3 unit errors are of case alone; without case the UER is 16.67 %" in shown.err
    (tmp_path / "g.txt").write_text("\n".join(lines).replace("ab", "AB") + "\n")
    assert main(["score", str(tmp_path / "g.txt")]) == 0
    assert "case" not in capsys.readouterr().err


def test_the_command_prints_rates_with_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    command.add_arguments(parser)
    letters = str(results(tmp_path, *LETTERS))
    assert command.run(parser.parse_args([letters])) == 0
    assert capsys.readouterr().out.splitlines() == [
        "utterances  2",
        "UER  50.00 %  (6 errors / 12 units)  substitutions 0 (0.00 %), insertions 1 (8.33 %), deletions 5 (41.67 %)",
        "WER  100.00 %  (3 errors / 3 words)  substitutions 2 (66.67 %), insertions 0 (0.00 %), deletions 1 (33.33 %)",
    ]
    phones = str(results(tmp_path, *PHONES))
    assert command.run(parser.parse_args([phones, "--units", "symbols", "--json"])) == 0
    assert json.loads(capsys.readouterr().out) == {
        "utterances": 2,
        "empty": 0,
        "uer": 25.0,
        "unit_errors": 1,
        "unit_total": 4,
        "unit_substitutions": 1,
        "unit_substitutions_percent": 25.0,
        "unit_insertions": 0,
        "unit_insertions_percent": 0.0,
        "unit_deletions": 0,
        "unit_deletions_percent": 0.0,
        "wer": None,
        "word_errors": None,
        "word_total": None,
        **{f"word_{name}{end}": None for name in command.TYPES for end in ("", "_percent")},
    }


UNITS = st.lists(st.sampled_from(["a", "b", "a b", " ", "\t", "\u2028", "", "1", "é", "<unk>"]), max_size=12)


@settings(max_examples=300, deadline=None)
@given(UNITS, UNITS)
def test_errors_are_the_edit_distance_of_any_units(reference: list[str], hypothesis: list[str]) -> None:
    rate = error_rate(reference, hypothesis)
    assert rate.errors == editdistance.eval(hypothesis, reference)
    assert rate.insertions - rate.deletions == len(hypothesis) - len(reference)
    assert rate.total == len(reference)


def test_scoring_imports_neither_torch_nor_fairseq(tmp_path: Path) -> None:
    code = (
        "import sys; from fairseq_parp.cli import main; main(); "
        "assert not {'torch', 'fairseq', 'rich'} & set(sys.modules), 'too much'"
    )
    words = [sys.executable, "-c", code, "score", str(results(tmp_path, *LETTERS))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Outputs(nn.Module):
    """A model in evaluation whose log-probabilities are given, (B, T, C)."""

    def __init__(self, log_probs: Tensor) -> None:
        super().__init__()
        self.log_probs, self.scale = log_probs, nn.Parameter(torch.ones(1))
        self.eval()

    def forward(self, source: Tensor) -> dict[str, Any]:
        return {"encoder_out": self.log_probs.transpose(0, 1), "padding_mask": None, "source": source}

    def get_normalized_probs(self, net_output: dict[str, Any], log_probs: bool) -> Tensor:
        assert log_probs
        out: Tensor = net_output["encoder_out"]
        return out


def test_symbols_agree_with_fairseqs_own_validation(tmp_path: Path) -> None:
    dictionary = Dictionary()
    for letter in "|AB":
        dictionary.add_symbol(letter)
    log_probs = random_log_probs(5, 4, 30, len(dictionary)).float()
    # </s> is all that is hidden from the text; a finetuned model never emits it.
    log_probs[..., dictionary.eos()] -= 20
    references = ["A B | B |", "B A B |", "| A A |", "A | B | A | B |"]
    target = [dictionary.encode_line(line, append_eos=False, add_if_not_exist=False) for line in references]
    padded = nn.utils.rnn.pad_sequence(target, batch_first=True, padding_value=dictionary.pad())
    sample = {"id": torch.arange(4), "target": padded, "net_input": {"source": torch.zeros(4, 1)}}
    model = Outputs(log_probs)
    criterion = CtcCriterion(CtcCriterionConfig(), SimpleNamespace(target_dictionary=dictionary, blank_symbol="<s>"))
    logged = criterion(model, sample)[2]

    generator = build_generator(dictionary, SimpleNamespace(beam=1))
    lines = []
    for number, best in enumerate(generator.generate([model], sample)):
        stripped = generator.symbols_to_strip_from_output
        shown = dictionary.string(target[number], escape_unk=True, extra_symbols_to_ignore=stripped)
        hypothesis = dictionary.string(best[0]["tokens"], extra_symbols_to_ignore=stripped)
        lines += [f"T-{number}\t{shown}", f"H-{number}\t-1\t{hypothesis}", f"D-{number}\t-1\t{hypothesis}"]
    score = score_file(results(tmp_path, *lines))
    assert (score.units.errors, score.units.total) == (logged["c_errors"], logged["c_total"])
    assert score.words is not None
    assert (score.words.errors, score.words.total) == (logged["w_errors"], logged["w_total"])
