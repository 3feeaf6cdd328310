"""Manifests from a table of transcripts: what is written, what is refused, what is left as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from fairseq_parp.errors import ConfigError, ManifestError
from fairseq_parp.manifests import writing
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.subset import shuffled, within
from fairseq_parp.manifests.table import write_table

ROWS = [
    ("train/a1.flac", "train", "ann", "HELLO WORLD", 24_000),
    ("train/a2.flac", "train", "ann", 'SAY "YES"', 18_000),
    ("train/b1.flac", "train", "bob", "IT'S TWO", 17_000),
    ("train/c1.wav", "train", "cat", "THREE", 16_000),
    ("test/d1.flac", "test", "dan", "QUIZ", 15_000),
]


def save(file: Path, rows: list[tuple], columns: str = "path frames split speaker text") -> Path:
    """Writes the columns asked for; frames are wrong on purpose, since the audio has them."""
    of = {"path": 0, "split": 1, "speaker": 2, "text": 3}
    names = columns.split()
    lines = ["\t".join(names), *("\t".join("7" if n == "frames" else row[of[n]] for n in names) for row in rows)]
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def table(tmp_path: Path, audio) -> Path:
    """The layout of a real corpus: a table beside the folders of its splits."""
    (tmp_path / "corpus").mkdir()
    for path, *_, frames in ROWS:
        audio(tmp_path / "corpus" / path, frames)
    return save(tmp_path / "corpus/transcripts.tsv", ROWS)


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def problems_of(table: Path, **options: object) -> list[str]:
    """The problems that the table is refused for, without its name; nothing may have been written."""
    out = table.parent / "refused"
    with pytest.raises(ManifestError) as raised:
        write_table(table, out, **options)
    assert not out.exists()
    return [problem.removeprefix(f"{table}:") for problem in raised.value.problems]


def test_letters(table: Path, tmp_path: Path) -> None:
    written = write_table(table, tmp_path / "out")
    files = contents(tmp_path / "out")
    assert sorted(files) == ["dict.ltr.txt", "test.ltr", "test.tsv", "test.wrd", "train.ltr", "train.tsv", "train.wrd"]
    assert files["train.tsv"] == (
        f"{tmp_path}/corpus\ntrain/a1.flac\t24000\ntrain/a2.flac\t18000\ntrain/b1.flac\t17000\ntrain/c1.wav\t16000\n"
    )
    assert files["train.ltr"].splitlines()[:2] == ["H E L L O | W O R L D |", 'S A Y | " Y E S " |']
    assert files["train.wrd"] == 'HELLO WORLD\nSAY "YES"\nIT\'S TWO\nTHREE\n'
    assert files["test.tsv"] == f"{tmp_path}/corpus\ntest/d1.flac\t15000\n"
    assert files["dict.ltr.txt"].splitlines()[:5] == ["| 8", "E 4", "L 3", "O 3", "S 3"]
    assert list(written.untrained) == ["Q", "U", "Z"]
    assert list(written.unused) == ["frames"]
    assert [report.problems for report in check_folder(tmp_path / "out")] == [[], []]


def test_columns_in_any_order_and_without_a_split(table: Path, tmp_path: Path) -> None:
    save(table, ROWS, "text path")
    written = write_table(table, tmp_path / "out")
    assert {split: len(utterances) for split, utterances in written.splits.items()} == {"train": 5}
    assert not written.untrained


def test_phones(table: Path, tmp_path: Path) -> None:
    save(table, [(*row[:3], "h ə  l oʊ") for row in ROWS])
    write_table(table, tmp_path / "out", labels="phn")
    files = contents(tmp_path / "out")
    assert sorted(files) == ["dict.phn.txt", "test.phn", "test.tsv", "train.phn", "train.tsv"]
    assert files["test.phn"] == "h ə l oʊ\n"
    assert files["dict.phn.txt"] == "h 5\nl 5\noʊ 5\nə 5\n"
    assert check_folder(tmp_path / "out")[0].problems == []


def test_text_is_normalised_to_nfc_and_keeps_its_case(table: Path, tmp_path: Path) -> None:
    save(table, [(*ROWS[0][:3], unicodedata.normalize("NFD", "Öl é")), (*ROWS[1][:3], "Öl\u00a0É")])
    write_table(table, tmp_path / "out")
    assert (tmp_path / "out/train.ltr").read_text() == "Ö l | é |\nÖ l | É |\n"


def test_root_and_absolute_paths(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = table.rename(tmp_path / "elsewhere.tsv")
    save(elsewhere, [(f"{tmp_path}/corpus/{ROWS[0][0]}", *ROWS[0][1:]), ROWS[1]], "path text")
    monkeypatch.chdir(tmp_path)
    write_table(elsewhere, "out", root="x/../corpus")
    assert (tmp_path / "out/train.tsv").read_text().startswith(f"{tmp_path}/corpus\ntrain/a1.flac\t24000\n")
    with pytest.raises(ManifestError, match=f"^{tmp_path}/nowhere: no such folder; --root names"):
        write_table(elsewhere, "out", root="nowhere")
    with pytest.raises(
        ManifestError, match=f"^{tmp_path}/nowhere/t.tsv: no such file: {tmp_path}/nowhere does not exist$"
    ):
        write_table("nowhere/t.tsv", "out")


def test_every_bad_row_is_named(table: Path, audio) -> None:
    corpus = table.parent
    audio(corpus / "8k.wav", rate=8_000)
    audio(corpus / "stereo.wav", channels=2)
    audio(corpus / "nothing.wav", 0)
    audio(corpus / "short.wav", 1_600)
    (corpus / "text.wav").write_text("no audio")
    rows = [
        ("8k.wav", "train", "x", "A"),
        ("stereo.wav", "train", "x", "A"),
        ("nothing.wav", "train", "x", "A"),
        ("short.wav", "train", "x", "TOO LONG"),
        ("text.wav", "train", "x", "A"),
        ("none.wav", "train", "x", "A"),
        ("../out.wav", "train", "x", "A"),
        ("", "train", "x", "A"),
        ("train/a1.flac", "train", "x", " "),
        ("train/a1.flac", "a/b", "x", "A"),
        ("train/a1.flac", "", "x", "A"),
        ("train/a1.flac", "train", "x", "A|B"),
        ("train/a1.flac", "test", "x", "A"),
        ("train/a2.flac", "train", "x", "A\tB"),
    ]
    expected = [
        (2, "8k.wav: 8000 Hz, 1 channel(s); 16000 Hz mono is needed"),
        (3, "stereo.wav: 16000 Hz, 2 channel(s)"),
        (4, "nothing.wav: no audio in it, 0 frames"),
        (5, "short.wav: 9 labels need 10 encoder frames for CTC, 1600 samples give 4"),
        (6, f"{corpus}/text.wav: not readable as audio"),
        (7, f"{corpus}/none.wav: no such file"),
        (8, "path '../out.wav' leaves the root folder"),
        (9, "path is empty"),
        (10, "text is empty"),
        (11, "split 'a/b' is not a file name"),
        (12, "split '' is not a file name"),
        (13, "text has a '|'"),
        (14, "'train/a1.flac' is already on line 13"),
        (15, "6 column(s), the header has 5 (path, frames, split, speaker, text)"),
    ]
    problems = sorted(problems_of(save(table, rows)), key=lambda problem: int(problem.split(":")[0]))
    assert len(problems) == len(expected)
    for problem, (line, start) in zip(problems, expected, strict=True):
        assert problem.startswith(f"{line}: {start}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path\twords\na\tb\n", ["1: column 'text' is missing"]),
        ("train/a1.flac\tHELLO\n", ["1: column 'path' is missing", "1: column 'text' is missing"]),
        ("path\ttext\tSplit\n", ["1: column 'Split' must be written 'split'"]),
        ("path\ttext \n", ["1: column 'text ' must be written 'text'"]),
        ("path\ttext\ttext\n", ["1: column 'text' occurs twice"]),
        ("path\ttext\n", ["1: no utterances after the header"]),
        ("path\ttext\r\ntrain/a1.flac\tA\r\n", ["1: ends in a carriage return"]),
        ("path\ttext\ntrain/a1.flac\tA\n\n", ["3: 1 column(s)"]),
        ("", ["1: the file is empty"]),
    ],
)
def test_faults_of_the_table(table: Path, content: str, expected: list[str]) -> None:
    table.write_bytes(content.encode())
    for options in ({}, {"valid_speakers": 1, "minutes": 1}):
        problems = problems_of(table, **options)
        assert len(problems) == len(expected)
        assert all(map(str.startswith, problems, expected)), problems


def test_a_phone_may_not_be_the_blank(table: Path) -> None:
    save(table, [(*ROWS[0][:3], "a <s> b")])
    assert problems_of(table, labels="phn") == ["2: phone '<s>' is fairseq's own symbol; use another"]


def test_valid_speakers(table: Path, tmp_path: Path) -> None:
    everyone = [(*row[:2], row[2].replace("dan", "bob"), *row[3:]) for row in ROWS]
    written = write_table(save(table, everyone), tmp_path / "out", valid_speakers=2, seed=3)
    moved_speakers = written.moved["valid"]
    assert "bob" in moved_speakers  # who is in test as well, and stays there
    paths = {split: [utterance.path for utterance in members] for split, members in written.splits.items()}
    moved = [row[0] for row in ROWS if row[1] == "train" and row[2] in moved_speakers]
    assert len(moved_speakers) == 2
    assert sorted(paths["valid"]) == sorted(moved)
    assert sorted(paths["train"] + paths["valid"]) == sorted(row[0] for row in ROWS[:4])
    assert paths["test"] == ["test/d1.flac"]


def test_subsets_share_the_dictionary_and_lie_inside_each_other(table: Path, tmp_path: Path) -> None:
    """Train is 4.6875 s, its utterances 1 to 1.5 s; all of it may be asked for."""
    sizes, trains = [], []
    for number, seconds in enumerate((1.6, 2.9, 4.6875)):
        out = tmp_path / str(number)
        written = write_table(table, out, minutes=seconds / 60)
        assert sum(utterance.frames for utterance in written.splits["train"]) <= seconds * 16_000
        trains.append({utterance.path for utterance in written.splits["train"]})
        sizes.append(len(trains[-1]))
        assert (out / "dict.ltr.txt").read_text() == (tmp_path / "0/dict.ltr.txt").read_text()
        assert check_folder(out)[1].problems == []
    assert sizes == [1, 2, 4]
    assert trains[0] < trains[1] < trains[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_speakers": 3}, "--valid-speakers=3: from 1 to 2; train has 3 speakers"),
        ({"valid_speakers": -1}, "--valid-speakers=-1: from 1 to 2"),
        ({"minutes": 1.0}, "--minutes=1.0: above 0, up to the 0.1 minutes of train"),
        ({"minutes": 0.0}, "--minutes=0.0: above 0"),
        ({"minutes": float("nan")}, "--minutes=nan: above 0"),
        ({"minutes": 0.001}, "--minutes=0.001: too little for a single utterance"),
    ],
)
def test_more_than_there_is(table: Path, tmp_path: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        write_table(table, tmp_path / "out", **options)
    assert str(raised.value).startswith(message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"valid_speakers": 1}, {"minutes": 1.0}])
def test_a_choice_from_train_where_there_is_none(table: Path, tmp_path: Path, options: dict[str, float]) -> None:
    rows = [(path, "train-clean-100", speaker, text) for path, _, speaker, text, _ in ROWS]
    with pytest.raises(
        ConfigError, match=r": takes from the split train, which the table lacks; it has train-clean-100$"
    ):
        write_table(save(table, rows), tmp_path / "out", **options)  # type: ignore[arg-type]


def test_the_only_speaker_stays_in_train(table: Path, tmp_path: Path) -> None:
    rows = [(path, "train", "ann", text) for path, _, _, text, _ in ROWS]
    with pytest.raises(ConfigError, match=r"--valid-speakers=1: train has only one speaker$"):
        write_table(save(table, rows), tmp_path / "out", valid_speakers=1)


def test_valid_speakers_need_speakers_and_no_valid_split(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a speaker for every utterance"):
        write_table(save(table, ROWS, "path text split"), tmp_path / "out", valid_speakers=1)
    rows = [*ROWS[:3], ("train/c1.wav", "valid", "cat", "THREE")]
    with pytest.raises(ConfigError, match="has a valid split already"):
        write_table(save(table, rows), tmp_path / "out", valid_speakers=1)


def test_a_choice_is_the_same_everywhere() -> None:
    """Golden order: that of ``printf '3\\tNAME' | sha256sum``, on any machine and in any Python."""
    golden = ["dan", "bob", "ann", "cat"]
    assert shuffled(["ann", "bob", "cat", "dan"], seed=3) == golden
    assert shuffled(["ann", "bob", "cat", "dan"], seed=4) == ["bob", "cat", "ann", "dan"]
    code = "from fairseq_parp.manifests.subset import shuffled; print(shuffled({'ann', 'bob', 'cat', 'dan'}, 3))"
    for salt in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        printed = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == str(golden)


def test_within_stops_at_the_first_that_no_longer_fits() -> None:
    lengths = dict.fromkeys("abcdefgh", 5)
    order = shuffled(lengths, 1)
    lengths[order[2]] = 100
    assert within(lengths, 40, 1) == set(order[:2])
    assert within(lengths, 10, 1) == set(order[:2])
    assert within(lengths, 9, 1) == set(order[:1])


@pytest.mark.parametrize("failing", ["train.wrd", "dict.ltr.txt"])
def test_a_failure_midway_leaves_the_old_files(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    out = tmp_path / "out"
    write_table(table, out)
    before = contents(out)
    save(table, [(*row[:3], f"{row[3]} X") for row in ROWS])
    write = writing._write

    def full_disk(file: Path, text: str) -> None:
        if file.name == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, text)

    monkeypatch.setattr(writing, "_write", full_disk)
    with pytest.raises(ManifestError, match=f"^{out}: cannot be written .No space left on device"):
        write_table(table, out)
    assert contents(out) == before
    monkeypatch.undo()
    write_table(table, out)
    assert contents(out)["test.wrd"] == "QUIZ X\n"


def test_nothing_is_replaced_before_everything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: written.append("written"))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (written.append("replaced"), replace(*paths)))
    writing.write_together(tmp_path / "out", {"a": "1\n", "b": "2\n"})
    assert written == ["written", "written", "replaced", "replaced"]
    assert contents(tmp_path / "out") == {"a": "1\n", "b": "2\n"}


def test_out_is_a_file(table: Path) -> None:
    with pytest.raises(ManifestError, match=r"transcripts\.tsv: cannot be written"):
        write_table(table, table)


def test_manifests_that_would_no_longer_fit_are_refused(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_table(table, out, valid_speakers=1)
    before = contents(out)
    with pytest.raises(ManifestError, match=f"^{out}: holds valid.tsv of another manifest"):
        write_table(table, out)
    with pytest.raises(ManifestError, match=r"holds dict\.ltr\.txt of another manifest"):
        write_table(table, out, valid_speakers=1, labels="phn")
    assert contents(out) == before


def test_the_table_may_lie_beside_its_manifests(table: Path) -> None:
    for _ in range(2):
        write_table(table, table.parent)
    assert [(report.split, report.problems) for report in check_folder(table.parent)] == [("test", []), ("train", [])]


def pictured(table: Path, images: list[str], column: str = "image") -> Path:
    head, *lines = table.read_text().splitlines()
    rows = [f"{line}\t{image}" for line, image in zip(lines, images, strict=True)]
    table.write_text("\n".join([f"{head}\t{column}", *rows]) + "\n")
    return table


IMAGES = ["p/1.jpg", "p/2.jpg", "p/1.jpg", "3", "4"]


def test_a_column_of_images_follows_every_choice_of_utterances(table: Path, tmp_path: Path) -> None:
    of_path = {path: image for (path, *_), image in zip(ROWS, IMAGES, strict=True)}
    write_table(pictured(table, IMAGES), tmp_path / "data", valid_speakers=["ann"], audio=tmp_path / "clips")
    for split in ("train", "valid", "test"):
        paths = [line.split("\t")[0] for line in (tmp_path / f"data/{split}.tsv").read_text().splitlines()[1:]]
        expected = [of_path.get(path) or of_path[path.replace(".flac", ".wav")] for path in paths]
        assert (tmp_path / f"data/{split}.img").read_text().splitlines() == expected
    assert not [report.problems for report in check_folder(tmp_path / "data") if report.problems]
    (tmp_path / "data/train.img").write_text("one\n\nthree\n")
    problems = [problem for report in check_folder(tmp_path / "data") for problem in report.problems]
    assert [problem.partition(": ")[2] for problem in problems] == [
        "3 lines for 2 utterances; line N belongs to line N + 1 of train.tsv", "no id of a picture",
    ]  # fmt: skip


def test_an_empty_or_misspelt_column_of_images_is_refused(table: Path) -> None:
    kept = table.read_text()
    assert problems_of(pictured(table, ["", *IMAGES[1:]]))[0].startswith("2: image '' is not an id")
    table.write_text(kept)
    assert "'Image' must be written 'image'" in problems_of(pictured(table, IMAGES, "Image"))[0]


def test_images_of_an_earlier_manifest_do_not_stay_beside_new_lines(table: Path, tmp_path: Path) -> None:
    kept = table.read_text()
    write_table(pictured(table, IMAGES), tmp_path / "data")
    table.write_text(kept)
    with pytest.raises(ManifestError, match=r"holds test\.img, train\.img of another manifest"):
        write_table(table, tmp_path / "data")
