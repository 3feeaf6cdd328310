"""LibriSpeech from its own folders: what is written, and what is said when it is not as it should be."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from fairseq_parp.cli import main
from fairseq_parp.errors import ConfigError, IncompleteSplitError, ManifestError
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.corpora.librispeech import write_librispeech
from fairseq_parp.manifests.table import write_table

DEV = [f"116-28804{chapter}-{number:04d}" for chapter, count in ((5, 3), (6, 2)) for number in range(count)]


@pytest.fixture
def facts(fact_of):
    return {"dev-other": fact_of(DEV)}


@pytest.fixture
def folder(librispeech: Path) -> Path:
    """A chapter of dev-other."""
    return librispeech / "dev-other/116/288045"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new).encode())


@pytest.mark.parametrize("root", ["", "LibriSpeech"])
def test_subsets_that_are_there(librispeech: Path, tmp_path: Path, facts, root: str) -> None:
    out = tmp_path / "data"
    written = write_librispeech(tmp_path / root, out, facts=facts)
    assert sorted(file.name for file in out.iterdir()) == [
        *("dev_other.ltr", "dev_other.tsv", "dev_other.wrd", "dict.ltr.txt"),
        *("train_clean_100.ltr", "train_clean_100.tsv", "train_clean_100.wrd"),
    ]
    tsv = (out / "dev_other.tsv").read_text().splitlines()
    assert tsv == [str(librispeech), *(f"dev-other/116/{name[4:10]}/{name}.flac\t16000" for name in DEV)]
    assert (out / "dev_other.wrd").read_text().splitlines()[1] == "IT'S ANAN EGG"
    assert (out / "dev_other.ltr").read_text().splitlines()[1] == "I T ' S | A N A N | E G G |"
    assert (out / "dict.ltr.txt").read_text().startswith("| 94802\nE 51860\n")
    assert (written.checked, written.unchecked, written.warnings) == (["dev-other"], ["train-clean-100"], [])
    assert [report.problems for report in check_folder(out)] == [[], []]


def test_one_after_the_other_into_the_same_folder(librispeech: Path, tmp_path: Path, facts) -> None:
    out = tmp_path / "data"
    for subset in ("dev-other", "train-clean-100", "dev-other"):
        write_librispeech(librispeech, out, subsets=[subset], facts=facts)
    assert sorted(file.name for file in out.glob("*.tsv")) == ["dev_other.tsv", "train_clean_100.tsv"]


def test_another_dictionary_in_the_folder_is_refused(librispeech: Path, tmp_path: Path, facts, folder: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text(f"path\ttext\n{DEV[0]}.flac\tIT'S MINE\n")
    write_table(table, tmp_path / "data", root=folder)
    with pytest.raises(ManifestError, match=r"data: holds train\.tsv of another manifest"):
        write_librispeech(librispeech, tmp_path / "data", facts=facts)


def test_missing_audio_is_counted_and_the_first_is_named(librispeech, tmp_path, facts, folder, problems_of) -> None:
    for number in (1, 2):
        (folder / f"116-288045-000{number}.flac").unlink()
    (librispeech / "train-clean-100/3526/288045/3526-288045-0000.flac").unlink()
    problems = problems_of(IncompleteSplitError, partial(write_librispeech, tmp_path, facts=facts), tmp_path / "data")
    assert problems == [
        "dev-other: 2 of 5 utterances are missing, first 116-288045-0001",
        "train-clean-100: 1 of 5 utterances are missing, first 3526-288045-0000",
    ]


def test_a_missing_chapter_is_named(librispeech, tmp_path, facts, folder, problems_of) -> None:
    folder.rename(tmp_path / "elsewhere")
    build = partial(write_librispeech, tmp_path, facts=facts)
    assert problems_of(IncompleteSplitError, build, tmp_path / "data") == [
        "dev-other: 3 of 5 utterances are missing; CHAPTERS.TXT names dev-other/116/288045, which does not exist"
    ]
    (librispeech / "CHAPTERS.TXT").unlink()
    assert problems_of(IncompleteSplitError, build, tmp_path / "data") == ["dev-other: 3 of 5 utterances are missing"]


def test_more_or_other_utterances_than_published(librispeech, tmp_path, facts, chapter, problems_of) -> None:
    build = partial(write_librispeech, tmp_path, subsets=["dev-other"], facts=facts)
    chapter(librispeech / "dev-other", 117, 1, 1)
    expected = ["dev-other: 6 utterances, the published split has 5"]
    assert problems_of(IncompleteSplitError, build, tmp_path / "data") == expected
    chapter(librispeech / "dev-other", 116, 288046, 1)
    (librispeech / "dev-other/116/288046/116-288046-0001.flac").unlink()
    expected = ["dev-other: its 5 utterances are not those of the published split (the digest of their ids differs)"]
    assert problems_of(IncompleteSplitError, build, tmp_path / "data") == expected


def test_audio_of_another_length_or_rate(tmp_path, facts, folder, audio, problems_of) -> None:
    build = partial(write_librispeech, tmp_path, subsets=["dev-other"], facts=facts)
    audio(folder / f"{DEV[0]}.flac", 16_001)
    expected = ["dev-other: 80001 frames of audio, the published split has 80000 (exactly)"]
    assert problems_of(ManifestError, build, tmp_path / "data") == expected
    audio(folder / f"{DEV[0]}.flac", 8_000, rate=8_000)
    (folder / f"{DEV[1]}.flac").write_bytes((folder / f"{DEV[1]}.flac").read_bytes()[:5_000])
    first, second = problems_of(ManifestError, build, tmp_path / "data")
    assert first.startswith(f"{folder}/116-288045.trans.txt:1: dev-other/116/288045/{DEV[0]}.flac: 8000 Hz, 1 channel")
    assert second.startswith(f"{folder}/116-288045.trans.txt:2: {folder}/{DEV[1]}.flac: not readable as audio")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\n", "\r\n", [":1: ends in a carriage return"]),
        ("0001 IT'S ANAN EGG", "0001 ", [":2: 116-288045-0001 has no text"]),
        ("116-288045-0001", "117-288045-0001", [":2: id '117-288045-0001' is not of this chapter"]),
        ("116-288045-0001", "116-288045-0000", [":2: '116-288045-0000' is already on line 1"]),
        ("116-288045-0001 IT'S ANAN EGG\n", "", [": no line for 116-288045-0001.flac, which exists"]),
        ("EGG\n116-288045-0001", "EGG\n\n116-288045-0001", [":2: id '' is not of this chapter"]),
    ],
)
def test_faults_of_a_transcript(tmp_path, facts, folder, problems_of, old: str, new: str, expected: list[str]) -> None:
    file = folder / "116-288045.trans.txt"
    edit(file, old, new)
    problems = problems_of(ManifestError, partial(write_librispeech, tmp_path, facts=facts), tmp_path / "data")
    assert len(problems) == len(expected)
    assert all(problem.startswith(f"{file}{start}") for problem, start in zip(problems, expected, strict=True)), (
        problems
    )


def test_a_chapter_without_a_transcript(tmp_path, facts, folder, problems_of) -> None:
    (folder / "116-288045.trans.txt").unlink()
    problems = problems_of(ManifestError, partial(write_librispeech, tmp_path, facts=facts), tmp_path / "data")
    assert problems == [f"{folder}/116-288045.trans.txt: no such file"]


def test_text_outside_the_dictionary(tmp_path, facts, folder, problems_of) -> None:
    edit(folder / "116-288045.trans.txt", "EGG", "ÉGG")
    problems = problems_of(ManifestError, partial(write_librispeech, tmp_path, facts=facts), tmp_path / "data")
    assert len(problems) == 1
    assert problems[0].endswith("116-288045-0000.flac: has 'É', which the dictionary lacks")


def test_a_dictionary_that_is_kept_replaces_the_published_one(tmp_path, facts, folder) -> None:
    edit(folder / "116-288045.trans.txt", "EGG", "ÉGG")
    kept = dict.fromkeys("É|'ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1)
    write_librispeech(tmp_path, tmp_path / "data", facts=facts, symbols=kept)
    assert (tmp_path / "data/dict.ltr.txt").read_text().splitlines()[:2] == ["É 1", "| 1"]


def test_an_utterance_that_ctc_cannot_align_stays_and_is_named(tmp_path, fact_of, chapter) -> None:
    ids = chapter(tmp_path / "LibriSpeech/dev-clean", 84, 1, 2, frames=1_600)
    out = tmp_path / "data"
    written = write_librispeech(tmp_path, out, facts={"dev-clean": fact_of(ids, 1_600)})
    assert len(written.splits["dev_clean"]) == 2
    assert len(written.warnings) == 2
    assert "need 13 encoder frames for CTC, 1600 samples give 4" in written.warnings[0]
    assert written.warnings[0].endswith("; kept all the same, as the published split has it")


def test_what_is_asked_for_and_not_there(librispeech: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=rf"^{librispeech}: no folder dev-clean$"):
        write_librispeech(tmp_path, tmp_path / "data", subsets=["dev-clean"])
    with pytest.raises(ConfigError, match="--subsets='dev': one of dev-clean, dev-other, test-clean"):
        write_librispeech(tmp_path, tmp_path / "data", subsets=["dev"])
    with pytest.raises(ManifestError, match=rf"^{tmp_path}/data: no LibriSpeech; looked in {tmp_path}/data and "):
        write_librispeech(tmp_path / "data", tmp_path / "out")


def test_the_command_compares_with_the_published_facts(librispeech: Path, tmp_path: Path, capsys) -> None:
    argv = ["manifest", "librispeech", str(tmp_path), "--out", str(tmp_path / "data")]
    assert main(argv) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("dev-other: 2859 of 2864 utterances are missing")
    assert lines[1:] == [
        "train-clean-100: 28534 of 28539 utterances are missing",
        "fairseq-parp manifest: 2 problem(s)",
    ]
    (librispeech / "train-clean-100").rename(librispeech / "train-clean-360")
    (librispeech / "dev-other").rename(tmp_path / "elsewhere")
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train_clean_360: 5 utterances, 0.1 min",
        "28 symbols: | E T A O N I H S R D L U M W C F G Y P B V K ' X J Q Z",
        f"written to {tmp_path}/data",
        "no published facts for: train-clean-360",
        "not there: dev-clean dev-other test-clean test-other train-clean-100 train-other-500",
    ]
