"""The forms of an own corpus: CSV, metadata.csv, Kaldi folders, audio beside text; segments; conversion; warnings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fairseq_parp.errors import ConfigError, ManifestError
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.sources import read_corpus
from fairseq_parp.manifests.table import WrittenTable, write_table


@pytest.fixture
def corpus(tmp_path: Path, audio) -> Path:
    """Three speakers with two utterances each."""
    for speaker in ("ann", "bob", "cat"):
        for number in (1, 2):
            audio(tmp_path / "corpus" / speaker / f"{number}.wav", 16_000 + 100 * number)
    return tmp_path / "corpus"


PATHS = [f"{speaker}/{number}.wav" for speaker in ("ann", "bob", "cat") for number in (1, 2)]


def paths(written: WrittenTable, split: str = "train") -> list[str]:
    return [utterance.path for utterance in written.splits[split]]


def sound(folder: Path) -> bool:
    return not any(report.problems for report in check_folder(folder))


def test_text_files_side_by_side(corpus: Path, tmp_path: Path) -> None:
    for number, path in enumerate(PATHS):
        (corpus / path).with_suffix(".txt").write_bytes(f"HELLO {number}\r\n".encode())
    written = write_table(corpus, tmp_path / "out", valid_speakers=["bob"], test_speakers=["cat"])
    assert {split: paths(written, split) for split in written.splits} == {
        "train": PATHS[:2], "valid": PATHS[2:4], "test": PATHS[4:],
    }  # fmt: skip
    assert (tmp_path / "out/valid.wrd").read_text() == "HELLO 2\nHELLO 3\n"
    assert written.moved == {"valid": ["bob"], "test": ["cat"]}
    assert sound(tmp_path / "out")


def test_folders_of_splits_side_by_side(corpus: Path, audio) -> None:
    for split in ("train", "dev"):
        audio(corpus.parent / "splits" / split / "ann" / "1.flac")
        (corpus.parent / "splits" / split / "ann" / "1.txt").write_text("HI")
    rows = read_corpus(corpus.parent / "splits", None).rows
    assert [(row.path, row.split, row.speaker) for row in rows] == [
        ("dev/ann/1.flac", "dev", "ann"),
        ("train/ann/1.flac", "train", "ann"),
    ]


def test_what_is_alone_side_by_side_is_named(corpus: Path, tmp_path: Path, audio) -> None:
    for path in PATHS[1:]:
        (corpus / path).with_suffix(".txt").write_text("HI")
    (corpus / "more.txt").write_text("HI")
    (corpus / "ann/2.txt").write_text("")
    audio(corpus / "bob/1.flac")
    with pytest.raises(ManifestError) as raised:
        write_table(corpus, tmp_path / "out")
    assert raised.value.problems == [
        f"{corpus}/ann/1.wav: no 1.txt beside it",
        f"{corpus}/ann/2.txt:1: the file is empty",
        f"{corpus}/more.txt: no audio file of that name beside it",
        f"{corpus}/bob/1.txt: belongs to bob/1.flac, bob/1.wav; leave one of them",
    ]


def test_csv_of_a_spreadsheet(corpus: Path, tmp_path: Path) -> None:
    rows = "\r\n".join(f'{path};"SAY ""{number}""; ""NOW""\nOR THEN";x' for number, path in enumerate(PATHS))
    (corpus / "all.csv").write_bytes(f"\ufefffile_name;transcription;age\r\n{rows}\r\n".encode())
    written = write_table(corpus / "all.csv", tmp_path / "out")
    assert paths(written) == PATHS
    assert written.splits["train"][3].words == 'SAY "3"; "NOW" OR THEN'
    assert list(written.renamed) == ["file_name for path", "transcription for text"]
    assert list(written.unused) == ["age"]


def test_lines_of_a_csv_are_those_of_the_file(corpus: Path, tmp_path: Path) -> None:
    file = corpus / "all.csv"
    file.write_text(f'path,text\n{PATHS[0]},"A\nB"\n{PATHS[1]},\n"{PATHS[2]},A\n')
    with pytest.raises(ManifestError) as raised:
        write_table(file, tmp_path / "out")
    assert raised.value.problems[0].startswith(f"{file}:5: not CSV from here on")
    file.write_text(f'path,text\n{PATHS[0]},"A\nB"\n{PATHS[1]},\n')
    with pytest.raises(ManifestError) as raised:
        write_table(file, tmp_path / "out")
    assert raised.value.problems == [f"{file}:4: text is empty"]


def test_metadata_of_hugging_face(corpus: Path, tmp_path: Path) -> None:
    for split, speaker in (("train", "ann"), ("validation", "bob")):
        (corpus / speaker).rename(corpus / split)
        (corpus / split / "metadata.csv").write_text("file_name,transcription\n1.wav,HI\n./2.wav,HI\n")
    written = write_table(corpus, tmp_path / "out")
    assert {split: paths(written, split) for split in written.splits} == {
        "train": ["train/1.wav", "train/2.wav"],
        "validation": ["validation/1.wav", "validation/2.wav"],
    }
    assert any("dataset.valid_subset=validation" in warning for warning in written.warnings)
    assert sound(tmp_path / "out")


@pytest.fixture
def kaldi(corpus: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "data/train"
    folder.mkdir(parents=True)
    (folder / "wav.scp").write_text("".join(f"u{number} {corpus}/{path}\n" for number, path in enumerate(PATHS)))
    (folder / "text").write_text("".join(f"u{number} HELLO  {number}\n" for number in range(6)))
    (folder / "utt2spk").write_text("".join(f"u{number} {path[:3]}\n" for number, path in enumerate(PATHS)))
    return folder


def test_kaldi(kaldi: Path, corpus: Path, tmp_path: Path) -> None:
    for source in (kaldi, kaldi.parent):
        read = read_corpus(source, None)
        assert read.root == str(corpus)
        assert [(row.path, row.speaker, row.split) for row in read.rows] == [
            (path, path[:3], "train") for path in PATHS
        ]
    write_table(kaldi, tmp_path / "out", valid_speakers=1)
    assert sound(tmp_path / "out")


def test_relative_paths_of_kaldi_start_from_the_root(kaldi: Path, corpus: Path) -> None:
    (kaldi / "wav.scp").write_text("".join(f"u{number} {path}\n" for number, path in enumerate(PATHS)))
    assert [row.path for row in read_corpus(kaldi, str(corpus)).rows] == PATHS


def test_faults_of_kaldi(kaldi: Path, tmp_path: Path) -> None:
    (kaldi / "wav.scp").write_text("u0 sox a.mp3 -t wav - |\nu1 /data/a.wav\nu1 /data/b.wav\nu2\n")
    (kaldi / "text").write_text("u0 A\nu1\nu9 A\nu2 A\n")
    with pytest.raises(ManifestError) as raised:
        write_table(kaldi, tmp_path / "out")
    assert [problem.removeprefix(f"{kaldi}/") for problem in raised.value.problems[:4]] == [
        "wav.scp:3: 'u1' is already on line 2; it may occur once",
        "text:1: wav.scp:1 is a command, which is not run; write its output to a file",
        "text:2: text is empty",
        "text:3: u9 has no line in wav.scp",
    ]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten seconds at 44.1 kHz stereo; the value of a sample is its second, over ten."""
    file = tmp_path / "long/rec.wav"
    file.parent.mkdir()
    value = np.repeat(np.arange(10) / 10 + 0.05, 44_100)
    soundfile.write(file, np.stack([value, value], axis=1), 44_100)
    return file


def table_of(recording: Path, *rows: str) -> Path:
    file = recording.with_name("segments.tsv")
    file.write_text("\n".join(["path\tstart\tend\ttext", *rows]) + "\n")
    return file


def test_segments_are_cut_and_converted(recording: Path, tmp_path: Path) -> None:
    table = table_of(recording, "rec.wav\t1\t2\tONE", "rec.wav\t2.5\t4.25\tTWO", "rec.wav\t8\t10.04\tLAST")
    clips = tmp_path / "clips"
    written = write_table(table, tmp_path / "out", audio=clips)
    assert paths(written) == [
        "rec-00001000-00002000.flac", "rec-00002500-00004250.flac", "rec-00008000-00010040.flac",
    ]  # fmt: skip
    assert [utterance.frames for utterance in written.splits["train"]] == [16_000, 28_000, 32_000]
    heard, rate = soundfile.read(clips / "rec-00002500-00004250.flac")
    assert (rate, heard.ndim) == (16_000, 1)
    assert [heard[at] for at in (4_000, 16_000, 26_500)] == pytest.approx([0.25, 0.35, 0.45], abs=1e-3)
    assert list(written.conversion) == [
        "1 recordings of 44100 Hz, 2 channel(s)",
        "to 3 FLACs of 16000 Hz, 1 channel: 3 written, 0 there already",
    ]
    assert sound(tmp_path / "out")
    assert "0 written, 3 there" in write_table(table, tmp_path / "out", audio=clips).conversion[-1]


def test_kaldi_segments_are_cut(kaldi: Path, recording: Path, tmp_path: Path) -> None:
    (kaldi / "wav.scp").write_text(f"rec {recording}\n")
    (kaldi / "segments").write_text("u0 rec 0.5 1.5\nu1 rec 9 -1\n")
    (kaldi / "text").write_text("u0 A\nu1 B\n")
    written = write_table(kaldi, tmp_path / "out", audio=tmp_path / "clips")
    assert [utterance.frames for utterance in written.splits["train"]] == [16_000, 16_000]


def test_a_recording_that_changed_is_cut_again(recording: Path, tmp_path: Path) -> None:
    table = table_of(recording, "rec.wav\t1\t2\tONE")
    write_table(table, tmp_path / "out", audio=tmp_path / "clips")
    soundfile.write(recording, np.full(88_200, 0.5), 44_100)
    later = (tmp_path / "clips/rec-00001000-00002000.flac").stat().st_mtime + 5
    os.utime(recording, (later, later))
    write_table(table, tmp_path / "out", audio=tmp_path / "clips")
    assert soundfile.read(tmp_path / "clips/rec-00001000-00002000.flac")[0].mean() == pytest.approx(0.5, abs=1e-2)


def test_segments_that_cannot_be_cut(recording: Path, tmp_path: Path) -> None:
    rows = ["1\t1\tA", "x\t2\tA", "9\t11\tA", "11\t12\tA", "-1\t2\tA", "3\t4\tA", "3\t4\tB", "5\t\tA"]
    table = table_of(recording, *(f"rec.wav\t{row}" for row in rows))
    with pytest.raises(ManifestError) as raised:
        write_table(table, tmp_path / "out", audio=tmp_path / "clips")
    assert [problem.removeprefix(f"{table}:") for problem in raised.value.problems] == [
        "2: the segment ends at 1 s, which is not after its start at 1 s",
        "3: time 'x' is not a number of seconds",
        "6: time '-1' is not a number of seconds",
        "8: 'rec.wav 3 4' is already on line 7; it may occur once",
    ]
    table = table_of(recording, "rec.wav\t9\t11\tA", "rec.wav\t11\t12\tA")
    with pytest.raises(ManifestError) as raised:
        write_table(table, tmp_path / "out", audio=tmp_path / "clips")
    assert [problem.removeprefix(f"{table}:") for problem in raised.value.problems] == [
        "2: rec.wav: the segment from 9 to 11 s is not within the recording's 10 s",
        "3: rec.wav: the segment from 11 to 12 s is not within the recording's 10 s",
    ]
    with pytest.raises(ConfigError, match="--audio=None: 2 utterances are segments"):
        write_table(table, tmp_path / "out")


def test_mp3_and_stereo_are_converted_only_when_asked(corpus: Path, tmp_path: Path) -> None:
    tone = 0.3 * np.sin(np.arange(66_150) * 0.05)
    soundfile.write(corpus / "a.mp3", tone, 44_100)
    soundfile.write(corpus / "b.wav", np.stack([tone, tone], axis=1), 44_100)
    table = corpus / "t.tsv"
    table.write_text("path\ttext\na.mp3\tHI\nb.wav\tHI\n")
    with pytest.raises(ManifestError, match="manifest table --audio DIR converts") as raised:
        write_table(table, tmp_path / "out")
    assert len(raised.value.problems) == 2
    written = write_table(table, tmp_path / "out", audio=tmp_path / "clips")
    assert paths(written) == ["a.flac", "b.flac"]
    assert [utterance.frames for utterance in written.splits["train"]] == pytest.approx([24_000, 24_000], abs=600)
    (corpus / "a.wav").write_bytes((corpus / "b.wav").read_bytes())
    table.write_text("path\ttext\na.mp3\tHI\na.wav\tHI\n")
    with pytest.raises(ManifestError, match=r"a\.wav would become a\.flac, as a\.mp3 does"):
        write_table(table, tmp_path / "out", audio=tmp_path / "clips")


@pytest.mark.parametrize("other", ["./ann/1.wav", "ann//1.wav", "bob/../ann/1.wav", "{corpus}/ann/1.wav"])
def test_a_file_by_two_spellings_is_one_file(corpus: Path, tmp_path: Path, other: str) -> None:
    table = corpus / "t.tsv"
    table.write_text(f"path\ttext\nann/1.wav\tHI\n{other.format(corpus=corpus)}\tHI\n")
    with pytest.raises(ManifestError, match=r"'ann/1\.wav' is already on line 2"):
        write_table(table, tmp_path / "out")


def written_from(corpus: Path, texts: list[str], **options: object) -> WrittenTable:
    table = corpus / "t.tsv"
    table.write_text("path\ttext\n" + "".join(f"{path}\t{text}\n" for path, text in zip(PATHS, texts, strict=False)))
    return write_table(table, corpus.parent / "out", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "warning"),
    [
        (["BẠ́N HI"], "combining marks are labels of their own: U+0301 COMBINING ACUTE ACCENT; --graphemes"),
        (["a b", "A c"], "case is mixed: a A are two labels each"),
        (["HE SAID: YES."], "punctuation is among the labels: '.', ':'; "),
        (["ZERO\u200bWIDTH X", "SOFT\u00adHYPHEN"], "invisible characters are labels: U+00AD SOFT HYPHEN, U+200B ZERO"),
        (["ROOM 42"], "digits are labels: '2', '4'; "),
        (["你好你好你好你好你好你", "你好你好你好你好你好你好"], "no text has a space, so a word is a whole utterance"),
        (["いぬ", "ねこ"], "no text has a space, so a word is a whole utterance"),
        (["IT'S FINE"], ""),
    ],
)
def test_warnings_of_letters(corpus: Path, texts: list[str], warning: str) -> None:
    found = written_from(corpus, texts).warnings
    assert found[0].startswith("no valid split, which a training needs: --valid-minutes")
    assert len(found) == 1 + bool(warning)
    assert found[-1].startswith(warning) or not warning


def test_graphemes_keep_marks_with_their_letter(corpus: Path) -> None:
    written = written_from(corpus, ["BẠ́N Ạ́N", "हिन्दी"], together=True)
    assert written.splits["train"][0].labels == "B Ạ́ N | Ạ́ N |"
    assert written.splits["train"][1].labels == "हि न् दी |"
    assert not any("combining" in warning for warning in written.warnings)
    with pytest.raises(ConfigError, match="--graphemes"):
        written_from(corpus, ["A"], together=True, labels="phn")


def test_the_table_in_a_folder_that_was_given_instead_is_named(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "data.tsv").write_text("path\ttext\n")
    with pytest.raises(ManifestError, match=f"give {tmp_path}/corpus/data.tsv itself"):
        write_table(tmp_path / "corpus", tmp_path / "out")


def test_test_minutes(corpus: Path) -> None:
    written = written_from(corpus, ["HI"] * 6, valid_minutes=2.5 / 60, test_minutes=1.5 / 60)
    assert {split: len(utterances) for split, utterances in written.splits.items()} == {
        "train": 3,
        "valid": 2,
        "test": 1,
    }
    assert len({path for split in written.splits for path in paths(written, split)}) == 6
    for options, message in (
        ({"test_minutes": 1.0}, "--test-minutes=1.0: above 0, up to the 0.1 minutes"),
        ({"test_speakers": 1}, "needs a speaker for every utterance.*--test-minutes M needs none"),
        ({"test_minutes": 96_900 / 16_000 / 60}, "--test-minutes=.*: leaves nothing to train on"),
    ):
        with pytest.raises(ConfigError, match=message):
            written_from(corpus, ["HI"] * 6, **options)


def test_valid_minutes(corpus: Path) -> None:
    written = written_from(corpus, ["HI"] * 6, valid_minutes=2.5 / 60, minutes=2.1 / 60)
    assert {split: len(utterances) for split, utterances in written.splits.items()} == {"train": 2, "valid": 2}
    assert not set(paths(written)) & set(paths(written, "valid"))
    assert not written.warnings
    for options, message in (
        ({"valid_minutes": 1.0}, "--valid-minutes=1.0: above 0, up to the 0.1 minutes"),
        ({"valid_minutes": 96_900 / 16_000 / 60}, "--valid-minutes=.*: leaves nothing to train on"),
        ({"valid_speakers": ["eve"]}, "needs a speaker"),
    ):
        with pytest.raises(ConfigError, match=message):
            written_from(corpus, ["HI"] * 6, **options)


def test_speakers_by_name(corpus: Path, tmp_path: Path) -> None:
    table = corpus / "t.tsv"
    table.write_text("path\ttext\tspeaker\n" + "".join(f"{path}\tHI\t{path[:3]}\n" for path in PATHS))
    for asked, message in (
        (["eve", "ann"], "--valid-speakers='eve,ann': 'eve' is not a speaker of train; ann, bob, cat are"),
        (["ann", "bob", "cat"], "leaves no speaker to train on"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_table(table, tmp_path / "out", valid_speakers=asked)
    with pytest.raises(ConfigError, match="'ann' is not a speaker of train"):
        write_table(table, tmp_path / "out", valid_speakers=["ann"], test_speakers=["ann"])
