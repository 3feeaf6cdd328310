"""Trainings on text that cannot work end in one line that names the key or the file, before anything is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import texts
import tiny
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary, indexed_dataset
from fairseq.tasks import setup_task
from in_process import common, train
from omegaconf import OmegaConf

from fairseq_parp import checkpoints
from fairseq_parp.errors import OneLineExit
from fairseq_parp.plugin import load_plugin

UPDATES = 4


def recipe(data: Path, **groups: dict[str, Any]) -> dict[str, Any]:
    """The config of a short training on texts, with some groups' keys replaced."""
    base = common() | {
        "task": texts.task(data),
        "dataset": {"num_workers": 0, "batch_size": 8},
        "criterion": {"_name": "sentence_prediction"},
        "model": texts.MODEL,
    }
    base["optimization"] = {"max_update": UPDATES, "lr": [0.01]}
    return base | {group: base[group] | keys for group, keys in groups.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts.make_data(tmp_path_factory.mktemp("texts"), {"train": 24, "valid": 6})


@pytest.fixture(scope="module")
def finetuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetuned")
    train(recipe(data), folder, method="parp", sparsity=0.5, interval=2)
    return folder / "checkpoint_last.pt"


def refused(config: dict[str, Any], save: Path) -> str:
    """Return the line that a training ends in."""
    with pytest.raises(OneLineExit) as caught:
        train(config, save, method="parp", sparsity=0.5, interval=2)
    assert not list(save.glob("*.pt"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"task": {"num_classes": 3}},
            "task.num_classes=3: .* has 2 labels: .*; leave the key out",
        ),
        (
            {"task": {"max_positions": 9}},
            "task.max_positions=9: .* examples in .*data: (train|valid) are longer, up to .* tokens",
        ),
        ({"criterion": {"regression_target": True}}, "criterion.regression_target=True: is not supported"),
        (
            {"criterion": {"report_mcc": True}},
            "criterion.report_mcc=True: needs whole numbers as labels; the labels are tools, animals",
        ),
        (
            {"criterion": {"report_acc_and_f1": True}},
            "report_acc_and_f1=True: needs the labels 0 and 1; the labels are",
        ),
        (
            {"criterion": {"report_pearson_and_spearman": True}},
            "report_pearson_and_spearman=True: is for regression, which is not supported; classes have report_mcc",
        ),
        ({"task": {"shorten_method": "cut"}}, "task.shorten_method='cut': must be one of none, truncate, random_crop"),
        (
            {"task": {"classification_head_name": "mine"}},
            "criterion.classification_head_name='sentence_classification_head': must be that of the task, mine",
        ),
        ({"task": {"init_token": 9999}}, "task.init_token=9999: must be the number of a token, from 0 to [0-9]+"),
        ({"task": {"separator_token": -1}}, "task.separator_token=-1: must be the number of a token"),
        ({"task": {"d2v2_multi": True}}, "task.d2v2_multi=True: prepares the data of another model than RoBERTa"),
        (
            {"model": {"_name": "transformer"}},
            "model._name='transformer': is not a text encoder .*; roberta, .* are",
        ),
        ({"model": {"encoder_layer": 2}}, "model.encoder_layer=2: no such key; did you mean encoder_layers?"),
        ({"checkpoint": {"finetune_from_model": "nothing.pt"}}, "finetune_from_model='nothing.pt': no such file"),
        ({"checkpoint": {"finetune_from_model": "/"}}, "finetune_from_model='/': / is a folder; name a file in it"),
        ({"task": {"max_positions": 1, "shorten_method": "truncate"}}, "task.max_positions=1: must be at least 2"),
        ({"dataset": {"batch_size": None, "max_tokens": 5}}, "max_tokens=5: the longest example has [0-9]+ tokens"),
        (
            {"checkpoint": {"best_checkpoint_metric": "wer"}},
            "best_checkpoint_metric='wer': must be one of loss, accuracy",
        ),
        ({"checkpoint": {"best_checkpoint_metric": "accuracy"}}, "maximize_best_checkpoint_metric=False: must be true"),
    ],
)
def test_settings(groups: dict[str, Any], message: str, data: Path, tmp_path: Path) -> None:
    assert re.search(message, refused(recipe(data, **groups), tmp_path))


@pytest.mark.parametrize("name", ["cross_entropy", "ctc"])
def test_another_criterion(name: str, data: Path) -> None:
    """The task takes keys from the criterion, which another one lacks."""
    load_plugin()
    cfg = OmegaConf.create({"task": texts.task(data), "criterion": {"_name": name}})
    with pytest.raises(
        OneLineExit, match=rf"criterion\._name='{name}': must be sentence_prediction, for classes of texts"
    ):
        setup_task(cfg.task)


def _binarise(folder: Path, part: str, lines: list[str]) -> None:
    """Write a part of the training split anew, with fairseq's own unknown mark where the dictionary lacks a word."""
    dictionary = Dictionary.load(str(folder / part / "dict.txt"))
    builder = indexed_dataset.make_builder(str(folder / part / "train.bin"), "mmap", vocab_size=len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False))
    builder.finalize(str(folder / part / "train.idx"))


def _one_label(folder: Path) -> None:
    (folder / "label" / "dict.txt").write_text("animals 24\n")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a label that the dictionary lacks": (
        lambda folder: _binarise(folder, "label", ["animals"] * 23 + ["plants"]),
        "example 24 has a label that label/dict.txt lacks; it has 'tools', 'animals'",
    ),
    "one class in the training": (
        lambda folder: _binarise(folder, "label", ["tools"] * 24),
        "every label is 'tools'; two classes are needed",
    ),
    "one class in the dictionary": (_one_label, "has 1 label(s), must have two"),
    "an empty text": (
        lambda folder: _binarise(folder, "input0", ["10 11"] * 23 + [""]),
        "input0/train: example 24 is an empty text",
    ),
    "fewer texts than labels": (
        lambda folder: _binarise(folder, "input0", ["10 11"] * 20),
        "different numbers of examples: 20 in input0, 24 in label",
    ),
    "no split": (
        lambda folder: (folder / "label" / "valid.idx").unlink(),
        "valid.idx: no such file; the folder's splits: train",
    ),
    "no dictionary": (lambda folder: (folder / "input0" / "dict.txt").unlink(), "input0/dict.txt: no such file"),
    "a damaged index": (lambda folder: (folder / "input0" / "train.idx").write_bytes(b"MMI"), "train.idx: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_folders(fault: str, tmp_path: Path) -> None:
    data = texts.make_data(tmp_path / "made", {"train": 24, "valid": 6})
    damage, message = FAULTS[fault]
    damage(data)
    assert message in refused(recipe(data), tmp_path / "save")


def test_a_tokenizer_that_is_not_the_checkpoints(finetuned: Path, tmp_path: Path) -> None:
    other = texts.make_data(tmp_path / "other", {"valid": 24, "train": 6})
    start = {"finetune_from_model": str(finetuned)}
    assert "trained with" in refused(recipe(other, checkpoint=start), tmp_path / "save")
    # The same numbers of tokens, which another merge makes other texts of.
    same = texts.make_data(tmp_path / "same", {"train": 24, "valid": 6})
    merges = same / "tokenizer" / "vocab.bpe"
    head, first, second, *rest = merges.read_text().split("\n")
    merges.write_text("\n".join([head, second, first, *rest]))
    line = refused(recipe(same, checkpoint=start), tmp_path / "save")
    assert f"{same}/tokenizer: another tokenizer than {finetuned} was trained with" in line


def test_validating_on_data_of_another_tokenizer(finetuned: Path, tmp_path: Path) -> None:
    """As fairseq-validate loads a checkpoint: the data that it names take the place of the checkpoint's."""
    other = texts.make_data(tmp_path / "other", {"valid": 24, "train": 6})
    load = checkpoint_utils.load_model_ensemble_and_task
    expected = rf"{other}/input0/dict\.txt: another dictionary than {finetuned} was trained with"
    with pytest.raises(OneLineExit, match=expected):
        load([str(finetuned)], arg_overrides={"data": str(other), "path": str(finetuned)})


def test_labels_that_are_not_the_runs(finetuned: Path, tmp_path: Path) -> None:
    other = texts.make_data(tmp_path / "other", {"train": 24, "valid": 6})
    names = other / "label" / "dict.txt"
    names.write_text("".join(reversed(names.read_text().splitlines(keepends=True))))
    save = tmp_path / "save"
    save.mkdir()
    (save / "checkpoint_last.pt").write_bytes(finetuned.read_bytes())
    config = recipe(other, optimization={"max_update": UPDATES + 2})
    with pytest.raises(OneLineExit, match=r"label/dict\.txt: another dictionary .* in another order"):
        train(config, save, method="parp", sparsity=0.5, interval=2)
    # A new run from the weights may have other labels.
    train(recipe(other, checkpoint={"finetune_from_model": str(finetuned)}), tmp_path / "new", method="dense")
    assert (tmp_path / "new" / "checkpoint_last.pt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ctc", "holds no RoBERTa but wav2vec2, which cannot classify text here"),
        ("positions", "task.max_positions=64: .* has 32 positions; give that number"),
        ("tokens", "input0/dict.txt: another dictionary than .*: 99 tokens in the checkpoint, .* here"),
        ("width", "does not fit this command"),
    ],
)
def test_checkpoints_to_start_from(change: str, message: str, data: Path, finetuned: Path, tmp_path: Path) -> None:
    file = tmp_path / "pretrained.pt"
    if change == "ctc":
        tiny.make_pretrained(file)
    else:
        state = checkpoints.read(finetuned)
        del state["task_state"]["text"]
        state["cfg"]["task"]["data"] = "/nowhere"
        encoder = "encoder.sentence_encoder."
        names = {"positions": f"{encoder}embed_positions.weight", "tokens": f"{encoder}embed_tokens.weight"}
        rows = {"positions": 34, "tokens": 99}
        if change == "width":
            name = f"{encoder}layers.0.fc1.weight"
            state["model"][name] = torch.zeros(48, 16)
        else:
            state["model"][names[change]] = torch.zeros(rows[change], 16)
        torch.save(state, file)
    line = refused(recipe(data, checkpoint={"finetune_from_model": str(file)}), tmp_path / "save")
    assert re.search(message, line), line


def test_a_damaged_vocabulary_in_a_checkpoint(data: Path, finetuned: Path, tmp_path: Path) -> None:
    for key, value in (("labels", "<s>\nanimals"), ("tokens", 3), ("more", "x")):
        state = checkpoints.read(finetuned)
        state["task_state"]["text"][key] = value
        torch.save(state, tmp_path / "damaged.pt")
        start = {"finetune_from_model": str(tmp_path / "damaged.pt")}
        line = refused(recipe(data, checkpoint=start), tmp_path / "save")
        assert "damaged: task_state.text" in line, json.dumps({key: value})
