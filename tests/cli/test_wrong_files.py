"""Every verb with every file argument replaced by every kind of file that is not due there: one clear line each."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import in_process
import labelled
import ngram_oracle as ngram
import pytest
import texts
import torch
from safetensors.torch import save_file
from torch.nn.utils import prune

from fairseq_parp.cli import main
from fairseq_parp.environment.paths import configs

INPUT, OUTPUT = object(), object()

VERBS: dict[str, list[str | tuple[object, str]]] = {
    "report": ["report", (INPUT, "finetuned")],
    "mask show": ["mask", "show", (INPUT, "mask")],
    "mask overlap": ["mask", "overlap", (INPUT, "mask"), (INPUT, "mask"), "--baseline", (INPUT, "mask"),
                     "--plot", (OUTPUT, ".png")],
    "mask make": ["mask", "make", (INPUT, "pretrained"), "--sparsity", "0.5", "-o", (OUTPUT, ".safetensors")],
    "mask apply": ["mask", "apply", (INPUT, "pretrained"), (INPUT, "mask"), "-o", (OUTPUT, ".pt")],
    "classify": ["classify", (INPUT, "classifier"), (INPUT, "audio")],
    "classify split": ["classify", (INPUT, "classifier"), "--data", (INPUT, "labelled"), "--plot", (OUTPUT, ".png"),
                       "--results", (OUTPUT, ".txt")],
    "classify texts": ["classify", (INPUT, "text classifier"), "--data", (INPUT, "binarised")],
    "score": ["score", (INPUT, "results")],
    "transcribe": ["transcribe", (INPUT, "finetuned"), (INPUT, "audio")],
    "manifest check": ["manifest", "check", (INPUT, "data")],
    "manifest table": ["manifest", "table", (INPUT, "table"), "--root", (INPUT, "data"),
                       "--dictionary", (INPUT, "dictionary"), "--out", (OUTPUT, "")],
    "manifest text": ["manifest", "text", (INPUT, "texts"), "--valid", (INPUT, "texts"), "--tokenizer",
                      (INPUT, "tokenizer"), "--out", (OUTPUT, "")],
    "manifest union": ["manifest", "union", (INPUT, "data"), "--out", (OUTPUT, "")],
    "experiment": ["experiment", (INPUT, "experiment"), "--dry-run"],
    "recipe convert": ["recipe", "convert", (INPUT, "recipe"), "-o", (OUTPUT, ".yaml")],
    "configs copy": ["configs", "copy", "base_10m", "-o", (OUTPUT, ".yaml")],
    "train": ["train", "--config-dir", (INPUT, "folder"), "--config-name", "none"],
    "demo": ["demo", "--out", (OUTPUT, "")],
}  # fmt: skip
"""Words; an argument that is a file is (input, the kind that is due) or (output, its ending)."""

FIT = {
    ("report", "pretrained"), ("mask show", "finetuned"), ("mask show", "pretrained"), ("mask show", "torch prune"),
    ("mask overlap", "finetuned"), ("mask overlap", "pretrained"), ("mask make", "finetuned"),
    ("mask apply", "finetuned"), ("manifest table", "finetuned"), ("mask apply", "pretrained"),
}  # fmt: skip
"""Other kinds that a verb takes as well."""

KINDS = [
    "missing", "folder", "empty", "text", "audio", "finetuned", "pretrained", "mask", "transformers", "foreign",
    "torch prune", "table", "results", "experiment", "recipe", "lm", "data",
]  # fmt: skip

FOLDERS = ("data", "folder", "labelled", "binarised", "tokenizer")
"""What is a folder where it is due."""

SLOTS = [(verb, at) for verb, words in VERBS.items() for at, word in enumerate(words) if isinstance(word, tuple)]
INPUTS = [(verb, at, kind) for (verb, at), kind in itertools.product(SLOTS, KINDS) if VERBS[verb][at][0] is INPUT]
WRONG = [case for case in INPUTS if VERBS[case[0]][case[1]][1] != case[2] and (case[0], case[2]) not in FIT]
UNWRITABLE = [
    (verb, at, place) for verb, at in SLOTS if VERBS[verb][at][0] is OUTPUT for place in ("/proc/none", "a file")
]


@pytest.fixture(scope="module")
def files(finetuned: Path, pretrained: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each kind, and what each verb is due."""
    folder = tmp_path_factory.mktemp("kinds")
    found = {"finetuned": finetuned / "checkpoint_last.pt", "pretrained": pretrained, "data": data}
    found |= {
        "audio": data / "train-0.flac",
        "dictionary": data / "dict.ltr.txt",
        "recipe": configs() / "base_10m.yaml",
    }
    found |= {"experiment": configs() / "experiments/sweep_base.yaml", "missing": folder / "missing"}
    for name, content in (("empty", ""), ("text", "hello world\nhello\n"), ("results", "T-0\tA B\nD-0\t-1\tA B\n")):
        found[name] = folder / name
        found[name].write_text(content)
    found["table"] = folder / "table.tsv"
    found["table"].write_text("path\ttext\ntrain-0.flac\tAB\n")
    found["lm"] = ngram.write_arpa(folder / "lm.arpa")
    found["folder"] = folder / "folder"
    found["folder"].mkdir()
    tones = labelled.make_data(folder / "labelled", {"train": 3, "valid": 3, "test": 3})
    in_process.train(labelled.recipe(tones, pretrained, 1), folder / "classifier", method="dense")
    found["labelled"] = tones
    found["classifier"] = folder / "classifier/checkpoint_last.pt"
    found["binarised"] = texts.make_data(folder / "texts", {"train": 9, "valid": 4, "test": 3})
    found["texts"], found["tokenizer"] = folder / "texts/valid.tsv", found["binarised"] / "tokenizer"
    recipe = in_process.common() | {"task": texts.task(found["binarised"]), "model": texts.MODEL}
    recipe |= {"dataset": {"num_workers": 0, "batch_size": 3}, "criterion": {"_name": "sentence_prediction"}}
    recipe["optimization"]["max_update"] = 1
    in_process.train(recipe, folder / "text classifier", method="dense")
    found["text classifier"] = folder / "text classifier/checkpoint_last.pt"
    found["mask"] = folder / "mask.safetensors"
    assert main(["mask", "make", str(pretrained), "--sparsity", "0.5", "-o", str(found["mask"])]) == 0
    found["transformers"] = folder / "model.safetensors"
    save_file({"wav2vec2.encoder.layers.0.attention.q_proj.weight": torch.ones(4, 4)}, found["transformers"])
    found["foreign"] = folder / "foreign.pt"
    torch.save({"weights": torch.nn.Linear(2, 2).state_dict()}, found["foreign"])
    pruned = torch.nn.Sequential(torch.nn.Linear(3, 3))
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    found["torch prune"] = folder / "pruned.pt"
    torch.save(pruned.state_dict(), found["torch prune"])
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


def words_of(verb: str, files: dict[str, Path], place: Path, replaced: int, by: Path) -> list[str]:
    words = []
    for at, word in enumerate(VERBS[verb]):
        if isinstance(word, str):
            words.append(word)
        elif at == replaced:
            words.append(str(by))
        else:
            words.append(str(files[word[1]] if word[0] is INPUT else place / f"new{word[1]}"))
    return words


def one_line(verb: str, named: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Check what was printed, and return the line that stands alone at the end."""
    *before, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"fairseq-parp {verb.split()[0]}: ")
    shown = "\n".join([*before[-25:], last])
    assert named.name in shown or str(named.parent) in shown, shown
    assert "Traceback" not in shown
    assert not shown.rstrip().endswith(":")
    return shown


@pytest.mark.parametrize(("verb", "at", "kind"), WRONG)
def test_a_file_of_another_kind(
    verb: str, at: int, kind: str, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(verb, files, place, at, files[kind])) in (1, 2)
    shown = one_line(verb, files[kind], capsys)
    if kind in ("folder", "data") and VERBS[verb][at][1] not in FOLDERS:
        assert "no such file" not in shown.lower()
    if VERBS[verb][at][1] in ("finetuned", "classifier", "text classifier", "pretrained", "mask"):
        due = {"transformers": "safetensors", "audio": "an audio file", "lm": "an n-gram language model"}
        assert due.get(kind, "") in shown
        assert kind in ("empty", "foreign", "torch prune") or "damaged" not in shown


@pytest.mark.parametrize(("verb", "at", "where"), UNWRITABLE)
def test_an_output_that_cannot_be_written(
    verb: str, at: int, where: str, files: dict[str, Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path("/proc/none/out") if where == "/proc/none" else files["text"] / "out"
    out = out.with_suffix(VERBS[verb][at][1])
    assert main(words_of(verb, files, place, at, out)) in (1, 2)
    one_line(verb, out.parent, capsys)
    assert files["text"].read_text() == "hello world\nhello\n"
