"""Every fault of every file is found, at its exact place."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairseq_parp.manifests.reading import Entry, locate, read_labels, read_manifest, read_vocabulary


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def test_a_sound_manifest_is_read_whole(folder: Path) -> None:
    manifest = read_manifest(folder / "train.tsv")
    assert manifest.root == str(folder.parent / "audio")
    assert manifest.entries[1] == Entry("anna/2.flac", 24_640, 3)
    assert (len(manifest.entries), manifest.lines, manifest.problems) == (3, 3, ())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["1: the file is empty"]),
        ("/r\n", ["1: no utterances; after the root folder"]),
        ("\na\t1\n", ["1: '' is not a folder; line 1 is the root folder"]),
        ("a.flac\t5\nb.flac\t5\n", [r"1: 'a.flac\t5' is not a folder; line 1 is the root folder"]),
        ("/r\na\t1\n\nb\t1\n", ["3: blank line"]),
        ("/r\na\t1\n\n", ["3: blank line"]),
        ("/r\na 1\n", ["2: 1 column(s) in 'a 1'; each line is PATH, one tab, FRAMES"]),
        ("/r\na\t1\tx\n", ["2: 3 column(s)"]),
        ("/r\na\t1.5\n", ["2: frames '1.5' is not a whole number above 0"]),
        ("/r\na\t0\nb\t-4\nc\t1_6\nd\t٣\n", ["2: frames '0'", "3: frames '-4'", "4: frames '1_6'", "5: frames '٣'"]),
        ("/r\na\t1\nb\t1\na\t1\na\t2\n", ["4: 'a' is already on line 2", "5: 'a' is already on line 2"]),
        ("/r\n../a\t1\nb/../../a\t1\n", ["2: path '../a' leaves the root folder", "3: path 'b/../../a' leaves"]),
        ("/r\n/a.wav\t1\n", ["2: path '/a.wav' leaves the root folder"]),
        ("/r\na:b.mp3\t1\nc.zip:1\t1\nd.zip:1:x\t1\n", ["2: path 'a:b.mp3' has a ':'", "3: path", "4: path"]),
        ("/r\na\t1\r\nb\t1\r\n", ["2: ends in a carriage return (CRLF)"]),
        ("\ufeff/r\na\t1\n", ["1: begins with a byte-order mark"]),
        (b"/r\na\t1\n\xe9\t1\n", ["3: byte 0xe9 is not UTF-8"]),
        ("/r\n\na\tx\nb\t1\nb\t1\n", ["2: blank line", "3: frames 'x'", "5: 'b' is already on line 4"]),
    ],
)
def test_faults_of_a_manifest(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    file = write(tmp_path / "train.tsv", content)
    problems = read_manifest(file).problems
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"{file}:{start}")


@pytest.mark.parametrize("path", ["a..b.flac", "..a/b.flac", "a:b.flac", "big.zip:40:800", "ä ö.wav", "a.mp3"])
def test_unusual_paths_are_allowed(tmp_path: Path, path: str) -> None:
    manifest = read_manifest(write(tmp_path / "t.tsv", f"/r\n{path}\t1\n"))
    assert (manifest.problems, manifest.entries) == ((), (Entry(path, 1, 2),))


def test_a_missing_trailing_newline_is_no_problem(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "t.tsv", "/r\na\t1\nb\t2"))
    assert (manifest.lines, manifest.problems) == (2, ())
    assert read_labels(write(tmp_path / "t.ltr", "A |\nB |")).lines == ("A |", "B |")


def test_lines_end_only_where_fairseq_ends_them(tmp_path: Path) -> None:
    """str.splitlines would split at a line separator, a form feed, ...; a text file opened by Python does not."""
    assert read_labels(write(tmp_path / "t.ltr", "A\u2028B |\nC\x0cD |\n")).lines == ("A\u2028B |", "C\x0cD |")


def test_faulty_lines_still_count_so_that_labels_stay_aligned(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path / "t.tsv", "/r\na\tx\nb\t1\n"))
    assert (manifest.lines, manifest.entries) == (2, (Entry("b", 1, 3),))


def test_empty_label_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "t.ltr", "A |\n\n \nB |\n")
    problems = read_labels(file).problems
    assert [problem.split(" no labels")[0] for problem in problems] == [f"{file}:2:", f"{file}:3:"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ["1: the file is empty"]),
        ("A 1\n\n", ["2: '' is not SYMBOL COUNT"]),
        ("A\n", ["1: 'A' is not SYMBOL COUNT"]),
        ("A x\n", ["1: 'A x' is not SYMBOL COUNT"]),
        ("A\t1\n", ["1: 'A\\t1' is not SYMBOL COUNT"]),
        ("A  1\n", ["1: symbol 'A ' is empty or has a space"]),
        (" 1\n", ["1: symbol '' is empty or has a space"]),
        ("A 1\nB 1\nA 1\n", ["3: 'A' is already on line 1"]),
        ("A 1\n<unk> 1\n", ["2: symbol '<unk>' is fairseq's own"]),
        ("\ufeff| 1\n", ["1: begins with a byte-order mark"]),
        ("A 1\r\nB 1\r\n", ["1: ends in a carriage return"]),
    ],
)
def test_faults_of_a_dictionary(tmp_path: Path, content: str, expected: list[str]) -> None:
    file = write(tmp_path / "dict.ltr.txt", content)
    problems = read_vocabulary(file).problems
    assert len(problems) == len(expected)
    for problem, start in zip(problems, expected, strict=True):
        assert problem.startswith(f"{file}:{start}")


def test_a_dictionary_may_overwrite_when_it_says_so(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(write(tmp_path / "d.txt", "A 1\nB 2\nA 3 #fairseq:overwrite\n"))
    assert (vocabulary.symbols, vocabulary.problems) == (("A", "B", "A"), ())


@pytest.mark.parametrize("read", [read_manifest, read_labels, read_vocabulary])
def test_a_missing_file_is_one_problem_with_the_absolute_path(tmp_path: Path, monkeypatch, read) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(Path("none.txt")).problems == (f"{tmp_path}/none.txt: no such file",)
    assert read(Path()).problems == (f"{tmp_path}: a folder; name a file in it",)


def test_locate_takes_the_root_into_account() -> None:
    """fairseq splits the whole path at ':', so a root with one breaks every ending that it does not know."""
    assert locate("/a:b", "c.flac").file == "/a:b/c.flac"
    assert locate("/", "c.flac").file == "/c.flac"
    with pytest.raises(ValueError, match="values to unpack"):
        locate("/a:b", "c.mp3")
