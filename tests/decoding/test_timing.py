"""Times of words: from a model that hears tones, through its windows, to files that other parsers read."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import ngram_oracle as ngram
import numpy as np
import pytest
import soundfile
import srt
import torch
from tone_model import finetuned_on_tones, tones

from fairseq_parp.cli import transcribe as command
from fairseq_parp.decoding import LanguageModel
from fairseq_parp.decoding.decoder import Hypothesis
from fairseq_parp.errors import ConfigError
from fairseq_parp.transcription import loading
from fairseq_parp.transcription.timing import spans
from fairseq_parp.transcription.transcriber import Transcriber

FRAME = 0.02
"""Seconds; a tone's frame at an edge hears both neighbours."""


@pytest.fixture(autouse=True)
def _finetuned(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = finetuned_on_tones()
    monkeypatch.setattr(loading, "load_finetuned", lambda *_arguments: loaded)


def said(text: str) -> list[tuple[str, float, float]]:
    """The words of tones of a fifth of a second each, with their start and end."""
    found, at = [], 0
    for part in text.split("|"):
        letters = "".join(letter for letter, before in zip(part, f"-{part}", strict=False) if letter != before)
        if letters.strip("-"):
            first = at + len(part) - len(part.lstrip("-"))
            found.append((letters.replace("-", ""), first / 5, (at + len(part.rstrip("-"))) / 5))
        at += len(part) + 1
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    parser = ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args(["a.pt", *words])) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("tones_of_text", [7, 700])
def test_times_of_words_are_those_of_the_audio_at_window_seams_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tones_of_text: int, beam: int
) -> None:
    """140 seconds cross four seams, at 35, 65, 95 and 125 s."""
    text = "".join(np.random.default_rng(1).choice(list("AB-|"), tones_of_text))
    soundfile.write(tmp_path / "a.wav", tones(16000, text), 16000)
    (found,) = json.loads(run(capsys, str(tmp_path / "a.wav"), "--format", "json", "--beam", str(beam)))
    expected = said(text)
    assert found["text"].split() == [word for word, *_ in expected] == [each["word"] for each in found["words"]]
    for each, (_, start, end) in zip(found["words"], expected, strict=True):
        assert each["start"] == pytest.approx(start, abs=1.01 * FRAME)
        assert each["end"] == pytest.approx(end, abs=1.01 * FRAME)


def test_subtitles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "ABA|BA|" * 12 + "-" * 10 + "A" + "-" * 5
    soundfile.write(tmp_path / "a.wav", tones(16000, text), 16000)
    cues = list(srt.parse(run(capsys, str(tmp_path / "a.wav"), "--format", "srt"), ignore_errors=False))
    expected = said(text)
    assert [word for cue in cues for word in cue.content.split()] == [word for word, *_ in expected]
    assert [cue.index for cue in cues] == list(range(1, len(cues) + 1))
    assert len(cues) == 4  # 17 s at most 7 s each, and what follows a pause
    assert all(cue.end - cue.start <= timedelta(seconds=7) for cue in cues)
    assert all(before.end <= after.start for before, after in pairwise(cues))
    assert cues[-1].content == "A"
    assert cues[-1].start.total_seconds() == pytest.approx(expected[-1][1], abs=1.01 * FRAME)


def test_subtitles_of_silence_are_empty_and_those_of_two_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    assert list(srt.parse(run(capsys, str(tmp_path / "a.wav"), "--format", "srt"))) == []
    with pytest.raises(ConfigError, match="--format='srt': subtitles are of one recording"):
        run(capsys, "a.wav", "b.wav", "--format", "srt")


@ngram.NEEDS_FLASHLIGHT
def test_words_of_a_language_model_have_times(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tones(16000, "AB|B"), 16000)
    lm = LanguageModel(ngram.write_arpa(tmp_path / "lm.arpa"), weight=0.1)
    words = Transcriber("a.pt", lm=lm).timed(tmp_path / "a.wav").words
    assert all(0 <= word.start < word.end <= 0.8 + FRAME for word in words)
    assert (words[0].word, words[0].end) == ("AB", pytest.approx(0.4, abs=1.01 * FRAME))


def test_a_label_lasts_while_it_is_the_most_probable_and_no_longer_than_to_the_next() -> None:
    log_probs = torch.nn.functional.one_hot(torch.tensor([1, 1, 0, 2, 2, 2, 2]), 3).float().log_softmax(-1)
    found = Hypothesis(torch.tensor([1, 2, 1, 2]), 0.0, torch.zeros(4), torch.tensor([0, 3, 5, 7]))
    assert spans(found, log_probs) == [(0, 2), (3, 5), (5, 6), (7, 7)]
