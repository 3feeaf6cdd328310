"""Tables of texts and labels become folders that fairseq reads as its own; what cannot be used is named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import texts
from fairseq import options
from fairseq.data import Dictionary, data_utils
from fairseq_cli import preprocess
from tokenizers import ByteLevelBPETokenizer

from fairseq_parp import cli
from fairseq_parp.errors import ConfigError, ManifestError, TokenizerError
from fairseq_parp.text.table import read_table
from fairseq_parp.text.tokenizer import Tokenizer, train
from fairseq_parp.text.writing import write_folder

TEXTS = ["a cat and a dog", "don't  saw:  it", "naïve – 日本語 \u2028 x", "ZEBRA\u00a0!?", "12 cats, 345 dogs"]


def test_every_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    rows = [["a cat", "animal"], ["", "tool"], ["a saw", ""], ["a file", "hand tool"], ["no label"]]
    rows += [["a drill", "<unk>"], ["a clamp", "madeupword0001"]]
    file = texts.write_table(tmp_path / "train.tsv", rows)
    with pytest.raises(ManifestError) as caught:
        read_table(file)
    assert [problem.removeprefix(f"{file}:")[:24] for problem in caught.value.problems] == [
        "3: the text is empty (co", "4: the label is empty (c", "5: the label 'hand tool'", "6: 1 cells, the first li",
        "7: the label '<unk>' is ", "8: the label 'madeupword",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("sentence", "label"), ":1: no column 'text', the columns are sentence, label; .* --text and --label name"),
        (("text", "label"), "has no examples"),
    ],
)
def test_a_table_without_its_columns_or_without_rows(columns: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=message):
        read_table(texts.write_table(tmp_path / "train.tsv", [], columns))


@pytest.mark.parametrize(
    ("columns", "texts_named", "label", "message"),
    [
        ("abcd", ["a", "b", "c"], "d", "--text='a b c': names one column, or two for pairs of texts"),
        ("abcd", ["a", "a"], "d", "--text='a a': the column 'a' serves twice; --label names that of the labels"),
        ("abcd", ["a"], "a", "--text='a': the column 'a' serves twice"),
        ("abab", ["a"], None, ":1: several columns have the name 'a'; rename all but one"),
    ],
)
def test_columns_that_cannot_be_told_apart(
    columns: str, texts_named: list[str], label: str | None, message: str, tmp_path: Path
) -> None:
    file = texts.write_table(tmp_path / "train.tsv", [["1", "2", "3", "4"]], list(columns))
    with pytest.raises((ConfigError, ManifestError), match=message):
        read_table(file, texts_named, label)


@pytest.mark.parametrize(
    ("train_rows", "valid_rows", "message"),
    [
        ([["a", "x"], ["b", "x"]], [["a", "x"]], "every label is 'x'; two classes are needed"),
        (
            [["a", "x"], ["b", "y"]],
            [["a", "x"], ["b", "z"]],
            r"valid.tsv:3: the label 'z' is not in the training table",
        ),
    ],
)
def test_labels_that_cannot_be_learnt(
    train_rows: list[list[str]], valid_rows: list[list[str]], message: str, tmp_path: Path
) -> None:
    files = {"train": train_rows, "valid": valid_rows}
    tables = {name: read_table(texts.write_table(tmp_path / f"{name}.tsv", rows)) for name, rows in files.items()}
    with pytest.raises(ManifestError, match=message):
        write_folder(tables, tmp_path / "data", None, 300)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["train.tsv", "valid.tsv"]


def test_the_folder_is_what_fairseq_preprocess_writes(tmp_path: Path) -> None:
    data = texts.make_data(tmp_path, {"train": 12, "valid": 4, "test": 3}, pairs=True)
    tokenizer = Tokenizer.read(data / "tokenizer")
    rows = {split: read_table(tmp_path / f"{split}.tsv").examples for split in ("train", "valid", "test")}
    for part, place in (("input0", 0), ("input1", 1), ("label", None)):
        for split, examples in rows.items():
            lines = [row.label if place is None else tokenizer.encode(row.texts[place]) for row in examples]
            (tmp_path / f"{split}.{part}").write_text("".join(f"{line}\n" for line in lines))
        prefs = [f"--{split}pref={tmp_path}/{split}.{part}" for split in rows]
        source = ["--padding-factor", "1"] if place is None else ["--srcdict", str(data / part / "dict.txt")]
        theirs = tmp_path / "theirs" / part
        parser = options.get_preprocessing_parser()
        preprocess.main(parser.parse_args(["--only-source", *prefs, *source, "--destdir", str(theirs)]))
        ours = [Dictionary.load(str(folder / "dict.txt")).symbols for folder in (data / part, theirs)]
        assert ours[0] == ours[1]
        for split in rows:
            read = [data_utils.load_indexed_dataset(str(folder / split)) for folder in (data / part, theirs)]
            assert [each.tolist() for each in read[0]] == [each.tolist() for each in read[1]]


def test_a_trained_tokenizer_encodes_as_the_library_that_trained_it_and_as_fairseq(tmp_path: Path) -> None:
    words = [row[0] for row in texts.made_up(200, 1)] + TEXTS
    tokenizer = train(words, 400)
    assert 300 < len(tokenizer.ids) <= 400
    assert train(words, 400) == tokenizer
    tokenizer.write(tmp_path)
    theirs = ByteLevelBPETokenizer(str(tmp_path / "encoder.json"), str(tmp_path / "vocab.bpe"))
    for text in [*TEXTS, *words[:20], "never seen: ∑ 🦉"]:
        assert list(map(int, tokenizer.encode(text).split())) == theirs.encode(text).ids
        assert theirs.decode(theirs.encode(text).ids) == text


def test_a_tokenizer_that_is_taken_is_kept_beside_the_data(tmp_path: Path) -> None:
    first = texts.make_data(tmp_path / "one", {"train": 30, "valid": 4})
    second = texts.make_data(tmp_path / "two", {"train": 20, "valid": 4}, tokenizer=first / "tokenizer")
    for name in ("encoder.json", "vocab.bpe", "dict.txt"):
        assert (first / "tokenizer" / name).read_bytes() == (second / "tokenizer" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("encoder.json", "{", "encoder.json cannot be read"),
        pytest.param("encoder.json", "[" * 100_000, "encoder.json cannot be read", id="deeply nested"),
        ("encoder.json", "[1]", "is not a mapping of tokens to ids"),
        ("encoder.json", '{"a": 0, "b": 0}', "encoder.json gives two tokens the same id"),
        ("encoder.json", '{"a": 0}', "lacks 255 of the 256 bytes"),
        ("vocab.bpe", "t h\n", "vocab.bpe has no line #version at its head"),
        (
            "vocab.bpe",
            "#version: 0.2\n",
            "has no merge for [0-9]+ tokens of encoder.json, such as '.*': it is incomplete",
        ),
        ("vocab.bpe", "#version\na b c\n", "vocab.bpe line 2: 'a b c' must be two tokens"),
        ("vocab.bpe", None, "vocab.bpe: no such file"),
        ("dict.txt", "0 3\n1 2\n", "lacks .* ids of the tokenizer, such as 2: the files are of two tokenizers"),
    ],
)
def test_damaged_tokenizers(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    folder = texts.make_data(tmp_path / "one", {"train": 30, "valid": 4}) / "tokenizer"
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(TokenizerError, match=message):
        texts.make_data(tmp_path / "two", {"train": 20, "valid": 4}, tokenizer=folder)
    assert not (tmp_path / "two" / "data").exists()


def test_the_command_writes_pretraining_data_too_and_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[row[0]] for row in texts.made_up(30, 1)]
    train_file = texts.write_table(tmp_path / "train.tsv", rows, ["text"])
    valid_file = texts.write_table(tmp_path / "valid.tsv", rows[:5], ["text"])
    argv = ["manifest", "text", str(train_file), "--valid", str(valid_file), "--out", str(tmp_path / "data")]
    assert cli.main([*argv, "--vocabulary", "300"]) == 0
    out = capsys.readouterr().out
    assert "train: 30 examples" in out
    assert "labels" not in out
    written = {str(file.relative_to(tmp_path / "data")) for file in (tmp_path / "data").rglob("*.*")}
    tokenizer = {f"tokenizer/{name}" for name in ("encoder.json", "vocab.bpe", "dict.txt")}
    assert written == {"dict.txt", "train.idx", "train.bin", "valid.idx", "valid.bin", *tokenizer}
    assert cli.main(argv) == 2
    assert "exists already; remove it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="must be at least 256: one token for each byte"):
        write_folder({"train": read_table(train_file), "valid": read_table(valid_file)}, tmp_path / "other", None, 99)
