"""One hour of each of ten languages: layout, phones, conversion, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import soundfile

from fairseq_parp.cli import main
from fairseq_parp.errors import ConfigError, IncompleteSplitError, ManifestError
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.corpora.commonvoice import LANGUAGES, write_commonvoice

ONE = {"train": 1, "val": 1, "test": 1}


@pytest.fixture
def build(tmp_path: Path):
    """The builder for Spanish in the folder of the test, with one process and no facts."""
    return partial(
        write_commonvoice,
        tmp_path / "cv-corpus",
        tmp_path / "common_voices_splits",
        languages=["es"],
        processes=1,
        facts={},
    )


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new).encode())


def test_a_language(tmp_path: Path, language, build, fact_of) -> None:
    ids = language("es")
    out = tmp_path / "data"
    facts = {"es-train": fact_of(ids["train"], frames_within=0.02), "es-val": fact_of(ids["val"], frames_within=0.02)}
    written = build(out=out, facts=facts)
    assert (written.checked, written.unchecked) == (["es-train", "es-val"], ["es-test"])
    assert sorted(file.name for file in out.iterdir()) == [
        *("audio", "dict.phn.txt", "test.phn", "test.tsv"),
        *("train.phn", "train.tsv", "valid.phn", "valid.tsv"),
    ]
    tsv = (out / "train.tsv").read_text().splitlines()
    assert tsv[0] == f"{out}/audio"
    assert [line.split("\t")[0] for line in tsv[1:]] == [f"es/{clip}.flac" for clip in ids["train"]]
    assert (out / "train.phn").read_text() == "ɲ a tʃ a\n" * 3
    assert (out / "dict.phn.txt").read_text() == "a 12\ntʃ 6\nɲ 6\n"
    assert [report.problems for report in check_folder(out)] == [[], [], []]
    info = soundfile.info(out / "audio/es" / f"{ids['test'][0]}.flac")
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert abs(info.frames - 16_000) < 320


def test_joint_has_one_dictionary_and_shares_the_audio(tmp_path: Path, language, build) -> None:
    for number, code in enumerate(LANGUAGES):
        language(code, f"a {code} p{number % 3}", ONE)
    audio = tmp_path / "flac"
    build(out=tmp_path / "es", audio=audio)
    made = {file: file.stat().st_mtime_ns for file in audio.rglob("*.flac")}
    written = build(out=tmp_path / "joint", languages=list(LANGUAGES), audio=audio)
    assert {split: len(members) for split, members in written.splits.items()} == {"train": 10, "valid": 10, "test": 10}
    assert set(written.symbols) == {"a", *LANGUAGES, "p0", "p1", "p2"}
    tsv = (tmp_path / "joint/train.tsv").read_text().splitlines()
    assert tsv[0] == str(audio)
    assert [line.split("/")[0] for line in tsv[1:]] == list(LANGUAGES)
    assert len(made) == 3
    assert {file: file.stat().st_mtime_ns for file in made} == made
    assert [report.problems for report in check_folder(tmp_path / "joint")] == [[], [], []]


@pytest.mark.parametrize("spelling", ["sv", "sv-SE", "sv_SE"])
@pytest.mark.parametrize("asked", ["sv", "sv-SE"])
def test_spellings_of_a_language(tmp_path: Path, language, build, spelling: str, asked: str) -> None:
    language(spelling, sizes=ONE)
    written = build(out=tmp_path / "data", languages=[asked])
    assert written.unchecked == ["sv-train", "sv-val", "sv-test"]


def test_the_root_may_be_the_language_itself(tmp_path: Path, language) -> None:
    language("tr", sizes=ONE)
    splits = tmp_path / "common_voices_splits"
    write_commonvoice(tmp_path / "cv-corpus/tr", splits, tmp_path / "data", languages=["tr"], processes=1)
    assert len(list((tmp_path / "data/audio/tr").iterdir())) == 3


@pytest.mark.parametrize("spelling", ["de", "zh-CN", "ES", ""])
def test_another_language_is_refused_and_the_ten_are_named(tmp_path: Path, build, spelling: str) -> None:
    with pytest.raises(ConfigError, match=r"one of the ten: es, fr, it, ky, nl, ru, sv-SE, tr, tt, zh-TW$"):
        build(out=tmp_path / "data", languages=[spelling])


def test_what_was_looked_for_is_said(tmp_path: Path, language, build, problems_of) -> None:
    language("nl", sizes=ONE)
    cv, splits = tmp_path / "cv-corpus", tmp_path / "common_voices_splits"
    assert problems_of(ManifestError, build, tmp_path / "data", languages=["nl", "zh"]) == [
        f"{cv}: no zh; looked for {cv}/zh/clips and {cv}/zh-TW/clips and {cv}/zh_TW/clips",
        f"{splits}: no zh; looked for "
        + " and ".join(f"{splits}/{name}/validated_phones_reduced.txt" for name in ("zh", "zh-TW", "zh_TW")),
    ]
    (splits / "nl/testSeqs_uniform_new_version.txt").unlink()
    assert problems_of(ManifestError, build, tmp_path / "data", languages=["nl"]) == [
        f"{splits}/nl/testSeqs_uniform_new_version.txt: no such file"
    ]


def test_missing_clips_are_counted_before_any_is_converted(tmp_path, language, build, problems_of) -> None:
    ids = language("es")
    for clip in ids["train"][1:]:
        (tmp_path / f"cv-corpus/es/clips/{clip}.mp3").unlink()
    problems = problems_of(IncompleteSplitError, build, tmp_path / "data")
    assert problems == ["es-train: 2 of 3 utterances are missing, first common_voice_es_train1"]
    assert not (tmp_path / "data").exists()


def test_clips_are_needed_no_more_once_they_are_converted(tmp_path: Path, language, build) -> None:
    ids = language("es", sizes=ONE)
    build(out=tmp_path / "data")
    (tmp_path / f"cv-corpus/es/clips/{ids['test'][0]}.mp3").unlink()
    assert build(out=tmp_path / "data").splits["test"]


def test_other_ids_and_other_lengths_than_published(tmp_path, language, build, fact_of, problems_of) -> None:
    ids = language("es", sizes=ONE)
    facts = {"es-test": fact_of(["common_voice_es_other"])}
    expected = "es-test: its 1 utterances are not those of the published split (the digest of their ids differs)"
    assert problems_of(IncompleteSplitError, build, tmp_path / "data", facts=facts) == [expected]
    facts = {"es-test": fact_of(ids["test"], 17_000, frames_within=0.02)}
    (problem,) = problems_of(ManifestError, build, tmp_path / "data", facts=facts)
    assert problem.endswith("frames of audio, the published split has 17000 (within 2.00%)")
    assert not build(
        out=tmp_path / "data", facts={"es-test": fact_of(ids["test"], 16_200, frames_within=0.02)}
    ).warnings


FAULTS = [
    ("trainSeqs_1.0_uniform_new_version.txt", "train1\n", "train1\r\n", ":2: ends in a carriage return"),
    ("trainSeqs_1.0_uniform_new_version.txt", "train1\n", "train1 x\n", ":2: 'common_voice_es_train1 x' is not an id"),
    ("trainSeqs_1.0_uniform_new_version.txt", "train1", "train0", ":2: 'common_voice_es_train0' is already on line 1"),
    ("testSeqs_uniform_new_version.txt", "test1", "test9", ": common_voice_es_test9 has no phones in validated_phones"),
    ("validated_phones_reduced.txt", "train1 2 0 1 0 ", "train1 2 0 9 0", ":2: phone number '9' is not in phonesMat"),
    ("validated_phones_reduced.txt", "train1 2 0 1 0", "train1", ":2: common_voice_es_train1 has no phones"),
    ("validated_phones_reduced.txt", "_es_elsewhere", "_es_test0", ":7: phone number '7' is not in"),
    (
        "validated_phones_reduced.txt",
        "_elsewhere 7 8 9",
        "_test0 0",
        ":7: 'common_voice_es_test0' is already on line 5",
    ),
    ("phonesMatches_reduced.json", "}", "", ":1: not JSON"),
    ("phonesMatches_reduced.json", ": 1", ": 2", ":1: must be an object of phones to numbers, each number once"),
    ("phonesMatches_reduced.json", ": 1", ": true", ":1: must be an object of phones to numbers, each number once"),
    ("phonesMatches_reduced.json", '"a"', '"a b"', ":1: must be an object of phones to numbers, each number once"),
]


@pytest.mark.parametrize(("name", "old", "new", "expected"), FAULTS)
def test_faults_of_the_splits(tmp_path, language, build, problems_of, name: str, old: str, new: str, expected: str):
    language("es")
    file = tmp_path / "common_voices_splits/es" / name
    edit(file, old, new)
    (problem,) = problems_of(ManifestError, build, tmp_path / "data")
    assert problem.startswith(f"{file}{expected}"), problem


def test_a_phone_may_not_be_the_blank(tmp_path: Path, language, build, problems_of) -> None:
    language("es", "<s> b c", ONE)
    problems = problems_of(ManifestError, build, tmp_path / "data")
    file = tmp_path / "common_voices_splits/es/validated_phones_reduced.txt"
    assert problems[0] == f"{file}:1: phone '<s>' is fairseq's own symbol; use another"


def test_the_command(tmp_path: Path, language, capsys) -> None:
    language("tr", sizes=ONE)
    language("es", sizes=ONE)
    splits, data = tmp_path / "common_voices_splits", tmp_path / "data"
    argv = ["manifest", "commonvoice", str(tmp_path / "cv-corpus"), "--splits", str(splits), "--out", str(data)]
    assert main([*argv, "--language", "tr", "--processes", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f"{split}: 1 utterances, 0.0 min" for split in ("train", "valid", "test")),
        "3 symbols: a tʃ ɲ",
        f"written to {data}",
        "no published facts for: tr-train tr-val tr-test",
    ]
    assert main([*argv, "--language", "es"]) == 1
    assert "es-train: 817 of 818 utterances are missing" in capsys.readouterr().err
    assert main([*argv, "--joint"]) == 1
    assert f"{splits}: no zh; looked for {splits}/zh/" in capsys.readouterr().err
    assert main([*argv, "--language", "en"]) == 2
    assert main([*argv, "--language", "tr", "--processes", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "fairseq-parp manifest: --processes=0: 1 or more"
