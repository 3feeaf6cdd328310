"""Decoders measured on a user's own recordings: a model that hears tones takes the place of a finetuned one."""

from __future__ import annotations

from pathlib import Path

import ngram_oracle as ngram
import pytest
import soundfile
from tone_model import finetuned_on_tones, tones

from benchmarks import run
from benchmarks.beams import texts_of
from benchmarks.recordings import Recordings
from fairseq_parp import cli
from fairseq_parp.decoding import GreedyDecoder, LanguageModel
from fairseq_parp.errors import ManifestError
from fairseq_parp.transcription import loading

TEXTS = ["AB-B|A", "B|AB|"]


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recordings:
    loaded = finetuned_on_tones()
    monkeypatch.setattr(loading, "load_finetuned", lambda *_arguments: loaded)
    for name, text in zip("ab", TEXTS, strict=True):
        soundfile.write(tmp_path / f"{name}.wav", tones(16000, text), 16000)
    lengths = "".join(f"{name}.wav\t{3200 * len(text)}\n" for name, text in zip("ab", TEXTS, strict=True))
    (tmp_path / "test.tsv").write_text(f"{tmp_path}\n{lengths}")
    (tmp_path / "test.ltr").write_text("A B B | A |\nB | A B |\n")
    (tmp_path / "lm.arpa").write_text(ngram.arpa())
    return Recordings(tmp_path / "test", tmp_path / "a.pt", LanguageModel(tmp_path / "lm.arpa", None, 1.5, 0.5))


def test_what_the_model_hears_is_decoded(recordings: Recordings) -> None:
    heard, lm = recordings.read()
    assert heard.alphabet == ["", " ", "A", "B"]
    assert heard.texts == texts_of(GreedyDecoder(0), heard, 1)() == ["ABB A", "B AB"]
    assert lm is recordings.lm


def test_the_rows_are_those_of_the_recordings(
    recordings: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # no peer is downloaded for a test
    rows = run.bench(None, tmp_path / "rows.json", recordings=recordings)
    assert [(row.name, row.holds) for row in rows] == [
        (f"search over words of test, beam {beam}", None) for beam in (10, 50, 200)
    ]


def test_a_split_whose_files_do_not_agree(recordings: Recordings, tmp_path: Path) -> None:
    (tmp_path / "test.ltr").write_text("A |\n")
    with pytest.raises(ManifestError, match=r"test\.ltr:2: 1 lines for 2 utterances"):
        recordings.read()
    (tmp_path / "test.ltr").write_text("A |\nC |\n")
    with pytest.raises(ManifestError, match=r"test\.ltr:2: .*C"):
        recordings.read()
    (tmp_path / "test.ltr").unlink()
    with pytest.raises(ManifestError, match=r"test\.ltr: no such file"):
        recordings.read()


@pytest.mark.parametrize(
    ("words", "named"),
    [(["--split", "a/test"], "--split='a/test'"), (["--checkpoint", "a.pt", "--lm", "b"], "--checkpoint='a.pt'")],
)
def test_all_of_it_or_nothing(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *words]) == 2
    assert f"{named}: needs --split, --checkpoint and --lm together" in capsys.readouterr().err
