from pathlib import Path

import pytest

from fairseq_parp import cli
from fairseq_parp.errors import ManifestError
from fairseq_parp.manifests.table import write_table
from fairseq_parp.manifests.union import write_union


def folder(path: Path, root: Path, splits: dict[str, list[tuple[str, str]]], symbols: str) -> Path:
    path.mkdir(parents=True)
    for split, rows in splits.items():
        (path / f"{split}.tsv").write_text("\n".join([str(root), *(f"{name}\t16000" for name, _ in rows)]) + "\n")
        (path / f"{split}.ltr").write_text("".join(f"{labels}\n" for _, labels in rows))
        (path / f"{split}.wrd").write_text("".join(f"{labels.replace(' ', '').strip('|')}\n" for _, labels in rows))
    (path / "dict.ltr.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    return path


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    audio = tmp_path / "audio"
    english = {"train": [("a.flac", "A B |"), ("b.flac", "B B |")], "test": [("c.flac", "A |")]}
    return [
        folder(tmp_path / "en", audio / "en", english, "AB|"),
        folder(tmp_path / "nl", audio / "nl" / "clips", {"train": [("a.flac", "B IJ |")]}, ["B", "IJ", "X", "|"]),
    ]


def test_splits_are_unions_and_symbols_are_shared(two: list[Path], tmp_path: Path) -> None:
    assert cli.main(["manifest", "union", *map(str, two), "--out", str(tmp_path / "joint")]) == 0
    joint = tmp_path / "joint"
    assert (joint / "train.tsv").read_text().splitlines() == [
        str(tmp_path / "audio"), "en/a.flac\t16000", "en/b.flac\t16000", "nl/clips/a.flac\t16000",
    ]  # fmt: skip
    assert (joint / "train.ltr").read_text().splitlines() == ["A B |", "B B |", "B IJ |"]
    assert (joint / "train.wrd").read_text().splitlines() == ["AB", "BB", "BIJ"]
    assert (joint / "test.tsv").read_text().splitlines() == [str(tmp_path / "audio"), "en/c.flac\t16000"]
    assert (joint / "dict.ltr.txt").read_text().splitlines() == ["B 4", "| 4", "A 2", "IJ 1", "X 0"]


def test_a_dictionary_can_be_kept(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.txt"
    old.write_text("Y 0\n| 7\nIJ 5\nB 3\nA 1\n")
    command = ["manifest", "union", *map(str, two), "--out", str(tmp_path / "joint"), "--dictionary", str(old)]
    assert cli.main(command) == 0
    assert (tmp_path / "joint" / "dict.ltr.txt").read_bytes() == old.read_bytes()
    old.write_text("| 7\nB 3\n")
    assert cli.main(command) == 1
    assert capsys.readouterr().err.splitlines() == [
        "en/c.flac: has 'A', which the dictionary lacks",
        "nl/clips/a.flac: has 'IJ', which the dictionary lacks",
        "fairseq-parp manifest: 2 problem(s)",
    ]


def test_an_utterance_in_two_folders_is_named_and_nothing_is_written(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"c.flac is in two of the folders") as error:
        write_union([two[0], two[0]], tmp_path / "joint")
    assert len(error.value.problems) == 3
    assert not (tmp_path / "joint").exists()


def test_words_are_written_where_all_folders_have_them(two: list[Path], tmp_path: Path) -> None:
    (two[1] / "train.wrd").unlink()
    write_union(two, tmp_path / "joint")
    assert sorted(file.name for file in (tmp_path / "joint").glob("*.wrd")) == ["test.wrd"]


def test_every_fault_of_every_folder_is_named(two: list[Path], tmp_path: Path) -> None:
    (two[1] / "train.ltr").write_text("B IJ |\nB |\n")
    (two[0] / "dict.ltr.txt").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError) as error:
        write_union([*two, tmp_path / "empty"], tmp_path / "joint")
    assert [problem.partition(": ")[2] for problem in error.value.problems] == [
        "no such file",
        "its utterances, labels, words and images differ in number",
        "no manifest (SPLIT.tsv) in this folder",
    ]


def test_images_stay_with_their_utterances(tmp_path: Path, audio) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        audio(tmp_path / name / f"{name}.flac")
        (tmp_path / name / "t.tsv").write_text(f"path\ttext\timage\n{name}.flac\tAB\t{name}.jpg\n")
        write_table(tmp_path / name / "t.tsv", tmp_path / f"data-{name}")
    write_union([tmp_path / "data-b", tmp_path / "data-a"], tmp_path / "both")
    paths = [line.split("\t")[0] for line in (tmp_path / "both/train.tsv").read_text().splitlines()[1:]]
    assert [f"{path[0]}.jpg" for path in paths] == (tmp_path / "both/train.img").read_text().splitlines()
    (tmp_path / "data-a/train.img").unlink()
    write_union([tmp_path / "data-b", tmp_path / "data-a"], tmp_path / "none")
    assert not (tmp_path / "none/train.img").exists()
