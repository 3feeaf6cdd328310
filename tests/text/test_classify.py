"""``fairseq-parp classify`` of texts: lines and a split alike, what cannot be classified, and other checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import texts
import tiny
import torch
from in_process import common, speech, train

from fairseq_parp import checkpoints
from fairseq_parp.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.make_data(tmp_path_factory.mktemp("texts"), {"train": 24, "valid": 6})


@pytest.fixture(scope="module")
def finetuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuned")
    recipe = common() | {
        "task": texts.task(data),
        "dataset": {"num_workers": 0, "batch_size": 8},
        "criterion": {"_name": "sentence_prediction"},
        "model": texts.MODEL,
    }
    train(recipe | {"optimization": {"max_update": 4, "lr": [0.01]}}, folder, method="parp", sparsity=0.5, interval=2)
    return folder / "checkpoint_last.pt"


def test_lines_get_the_labels_that_the_split_of_the_same_texts_has(
    finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [line.split("\t") for line in (data.parent / "valid.tsv").read_text().splitlines()[1:]]
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text, _ in rows))
    assert main(["classify", str(finetuned), "--data", str(data), "--split", "valid", "--json"]) == 0
    split = json.loads(capsys.readouterr().out)
    assert main(["classify", str(finetuned), str(tmp_path / "lines.txt"), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [each["label"] for each in lines] == [each["label"] for each in split["examples"]]
    assert [each["probability"] for each in lines] == pytest.approx([e["probability"] for e in split["examples"]])
    assert [each["true"] for each in split["examples"]] == [label for _, label in rows]
    assert split["correct"] == sum(each["label"] == each["true"] for each in split["examples"])


def test_a_line_that_cannot_be_classified_is_named_and_keeps_no_other_from_it(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("the old cat\n\none\ttwo\n" + "hammer " * 90 + "\na saw here\n")
    assert main(["classify", str(finetuned), str(file), str(tmp_path / "nothing.txt")]) == 1
    shown = capsys.readouterr()
    assert [line.split("\t")[0] for line in shown.out.splitlines()] == [f"{file}:1", f"{file}:5"]
    empty, tab, long, missing = shown.err.strip().splitlines()
    assert f"{file}:2: the text is empty" in empty
    assert f"{file}:3: 2 text(s); the model takes one text" in tab
    assert f"{file}:4: " in long
    assert "the model has 64 positions" in long
    assert "nothing.txt" in missing


def test_results_are_what_score_reads(
    finetuned: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "generate-valid.txt"
    argv = ["classify", str(finetuned), "--data", str(data), "--split", "valid", "--json", "--results", str(out)]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["score", str(out), "--units", "symbols", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    wrong = found["total"] - found["correct"]
    assert score["uer"] == pytest.approx(100 * wrong / found["total"])


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        (["transcribe", "CKPT", "x.wav"], "CKPT: .*"),
        (["export", "CKPT", "--to", "fairseq", "-o", "OUT"], "CKPT: its task parp_sentence_prediction gives a label"),
        (["export", "CKPT", "--to", "compact", "-o", "OUT"], "CKPT: its task parp_sentence_prediction gives a label"),
    ],
)
def test_commands_for_speech_refuse_it_in_one_line(
    verb: list[str], line: str, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"CKPT": str(finetuned), "OUT": str(tmp_path / "out")}
    assert main([places.get(word, word) for word in verb]) == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(line.replace("CKPT", re.escape(str(finetuned))), shown), shown
    assert not (tmp_path / "out").exists()


def test_a_ctc_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 4, "valid": 2})
    recipe = speech(data, tiny.make_pretrained(tmp_path / "p.pt"))
    recipe["optimization"]["max_update"] = 1
    train(recipe, tmp_path / "run", method="dense")
    (tmp_path / "lines.txt").write_text("one\n")
    assert main(["classify", str(tmp_path / "run" / "checkpoint_last.pt"), str(tmp_path / "lines.txt")]) == 2
    assert "its task is parp_finetuning, which gives no labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("head", "mine", "needs the head 'mine' for its 2 labels; it has no such head"),
        ("labels", "plants", "needs the head 'sentence_classification_head' for its 3 labels; it has one for 2"),
    ],
)
def test_a_head_that_fairseq_would_replace_by_a_random_one(
    key: str, value: str, message: str, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = checkpoints.read(finetuned)
    if key == "head":
        state["cfg"]["task"]["classification_head_name"] = value
    else:
        vocabulary = state["task_state"]["text"]
        vocabulary["labels"] = vocabulary["labels"].replace("\n<mask>", f"\n{value}\n<mask>")
    torch.save(state, tmp_path / "changed.pt")
    (tmp_path / "lines.txt").write_text("the old cat\n")
    assert main(["classify", str(tmp_path / "changed.pt"), str(tmp_path / "lines.txt")]) == 2
    assert capsys.readouterr().err.strip().endswith(f"{tmp_path}/changed.pt: {message}")


def test_a_file_without_lines(finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.txt").touch()
    assert main(["classify", str(finetuned), str(tmp_path / "empty.txt")]) == 1
    assert f"{tmp_path}/empty.txt: is empty; a line is a text to classify" in capsys.readouterr().err
