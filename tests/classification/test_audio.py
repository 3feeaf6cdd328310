"""Classification of utterances: a tiny model trained on tones of three pitches, and what every command makes of it."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import labelled
import numpy as np
import pytest
import soundfile
import tiny
import torch
from fairseq import checkpoint_utils
from in_process import require_exact_zeros, speech, state_of, train

from fairseq_parp import checkpoints
from fairseq_parp.cli import main
from fairseq_parp.errors import OneLineExit
from fairseq_parp.manifests.table import write_table
from fairseq_parp.tasks._labels import log_probs_alone

SIZES = {"train": 30, "valid": 13, "test": 17}
KEYS = {"method": "parp", "sparsity": 0.5, "interval": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Tones, their data folder, a pretrained model with random weights, and a classifier trained on the tones."""
    folder = tmp_path_factory.mktemp("classifier")
    data, pretrained = labelled.make_data(folder, SIZES), tiny.make_pretrained(folder / "pretrained.pt")
    recipe = labelled.recipe(data, pretrained, 40)
    train(recipe, folder / "run", **KEYS)
    return SimpleNamespace(data=data, tones=folder / "tones", recipe=recipe, pretrained=pretrained, run=folder / "run")


@pytest.mark.parametrize("target", ["fairseq", "transformers", "compact"])
def test_a_classifier_is_not_exported(
    target: str, made: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = made.run / "checkpoint_last.pt"
    assert main(["export", str(file), "--to", target, "-o", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"{file}: its task parp_audio_classification gives a label for each input" in shown
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def ctc(tmp_path_factory: pytest.TempPathFactory, made: SimpleNamespace) -> Path:
    """A CTC model's checkpoint."""
    folder = tmp_path_factory.mktemp("ctc")
    data = tiny.make_corpus(folder / "data", {"train": 4, "valid": 2, "test": 2})
    recipe = speech(data, made.pretrained)
    recipe["optimization"]["max_update"] = 1
    train(recipe, folder / "run", method="dense")
    return folder / "run" / "checkpoint_last.pt"


def true_labels(made: SimpleNamespace, split: str) -> list[str]:
    return (made.data / f"{split}.label").read_text().split()


def files_of(made: SimpleNamespace, split: str) -> list[str]:
    _, *lines = (made.data / f"{split}.tsv").read_text().splitlines()
    return [f"{made.tones}/{line.split(chr(9))[0]}" for line in lines]


def classified(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Return what ``fairseq-parp classify --json`` prints."""
    capsys.readouterr()
    assert main(["classify", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_trained_is_sparse_and_knows_tones_that_it_never_heard(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    require_exact_zeros(made.run, KEYS)
    best = str(made.run / "checkpoint_best.pt")
    found = classified(capsys, best, "--data", str(made.data))
    assert found["total"] == SIZES["test"]
    assert found["accuracy"] >= found["commonest"] + 0.2


def test_validation_and_the_command_find_the_same_accuracy(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both count every utterance; the one validates padded batches, the other reads files one by one."""
    for name in ("best", "last"):
        file = made.run / f"checkpoint_{name}.pt"
        found = classified(capsys, str(file), "--data", str(made.data), "--split", "valid")
        extra = checkpoints.read(file)["extra_state"]
        assert found["accuracy"] == pytest.approx(float(extra["val_loss"]))
        assert found["total"] == SIZES["valid"]
    validated = [float(line["extra_state"]["val_loss"]) for line in map(checkpoints.read, made.run.glob("*.pt"))]
    assert float(checkpoints.read(made.run / "checkpoint_best.pt")["extra_state"]["val_loss"]) == max(validated)


def test_a_line_for_each_file_and_an_error_for_one_that_is_no_audio(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Other rates and channels are taken; a file that cannot be read does not keep the others from their labels."""
    best, files = str(made.run / "checkpoint_best.pt"), files_of(made, "test")[:3]
    expected = [each["label"] for each in classified(capsys, best, *files)]
    stereo = tmp_path / "stereo.wav"
    sound, rate = soundfile.read(files[0])
    soundfile.write(stereo, np.stack([sound, sound], axis=1), rate, subtype="FLOAT")
    (tmp_path / "no.wav").write_text("no audio")
    assert main(["classify", best, str(tmp_path / "no.wav"), str(stereo), *files]) == 1
    shown = capsys.readouterr()
    lines = [line.split("\t") for line in shown.out.splitlines()]
    assert [line[0] for line in lines] == [str(stereo), *files]
    assert [line[1] for line in lines] == [expected[0], *expected]
    assert all(1 / 3 <= float(line[2]) <= 1 for line in lines)
    assert shown.err.startswith(f"fairseq-parp classify: {tmp_path}/no.wav: cannot be read as audio")


def test_json_of_files_and_of_a_split_agree(made: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    best = str(made.run / "checkpoint_best.pt")
    files = classified(capsys, best, *files_of(made, "test"))
    split = classified(capsys, best, "--data", str(made.data))
    assert [each["label"] for each in files] == [each["label"] for each in split["examples"]]
    assert [each["true"] for each in split["examples"]] == true_labels(made, "test")
    right = sum(each["label"] == each["true"] for each in split["examples"])
    assert (split["correct"], split["accuracy"]) == (right, right / 17)


def test_the_report_of_a_split_and_its_picture(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    best, picture = str(made.run / "checkpoint_best.pt"), tmp_path / "confusion.png"
    found = classified(capsys, best, "--data", str(made.data))
    assert main(["classify", best, "--data", str(made.data), "--plot", str(picture)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"accuracy {found['accuracy']:.1%} ({found['correct']} of 17), test"
    assert second.startswith(f"95% interval {found['low']:.1%} to {found['high']:.1%}; ")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_padding_changes_no_probability(made: SimpleNamespace) -> None:
    """The tiny model has group normalisation, which stock fairseq lets average over the padding."""
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(made.run / "checkpoint_best.pt")])
    task.load_dataset("test")
    dataset = task.dataset("test")
    samples = sorted((dataset[index] for index in range(len(dataset))), key=lambda each: len(each["source"]))
    picked = [samples[0], samples[8], samples[-1]]
    batch = dataset.collater(picked)
    together = log_probs_alone(model, batch["net_input"])
    alone = torch.cat([log_probs_alone(model, dataset.collater([each])["net_input"]) for each in picked])
    assert (together - alone).abs().max() < 2e-5
    with torch.no_grad():
        stock = model.get_normalized_probs(model(**batch["net_input"]), log_probs=True)
    assert (stock - alone).abs().max() > 1e-3


def test_fairseq_generate_writes_labels_whose_uer_is_the_error_rate(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    generate(made, "parp_audio_classification", tmp_path)
    found = classified(capsys, str(made.run / "checkpoint_best.pt"), "--data", str(made.data))
    assert main(["score", str(tmp_path / "generate-test.txt"), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["utterances"] == SIZES["test"]
    assert scored["uer"] == pytest.approx(100 * (1 - found["accuracy"]), abs=0.01)


def generate(made: SimpleNamespace, task: str, results: Path) -> None:
    """Decode the test split with fairseq-generate."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.utils import import_user_module
    from fairseq_cli import generate as command

    import_user_module(Namespace(user_dir=str(tiny.PLUGIN)))
    words = [
        str(made.data), "--user-dir", str(tiny.PLUGIN), "--task", task, "--labels", "label", "--gen-subset", "test",
        "--path", str(made.run / "checkpoint_best.pt"), "--scoring", "wer", "--cpu", "--results-path", str(results),
    ]  # fmt: skip
    parser = options.get_generation_parser()
    command.main(convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, words)))


@pytest.mark.parametrize("method", ["dense", "s3_router"])
def test_the_head_alone_trains_and_so_do_masks(made: SimpleNamespace, tmp_path: Path, method: str) -> None:
    """Under s3_router the weights that are kept are the pretrained ones: training only chose them."""
    recipe = with_keys(made.recipe, "task", adapters={"kind": "head_only"})
    recipe["optimization"] = made.recipe["optimization"] | {"max_update": 8}
    scope = {"scope": [".*fc[12][.]weight"]} if method == "s3_router" else {}
    train(recipe, tmp_path, method=method, sparsity=0.5, **scope)
    before = checkpoints.read(made.pretrained)["model"]
    after, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    mask = (entry["pruning"]["mask"] or {}) if method == "s3_router" else {}
    changed = {
        name for name, value in after.items()
        if name.startswith("w2v_encoder.w2v_model.") and not torch.equal(value, before[name.split(".", 2)[2]])
    }  # fmt: skip
    assert changed == set(mask)
    assert bool(mask) == (method == "s3_router")
    for name in changed:
        was = before[name.split(".", 2)[2]]
        assert torch.equal(after[name], torch.where(after[name] == 0, 0.0, was))
        assert int((after[name] == 0).sum()) == was.numel() // 2
    assert {"pooling_layer.linear.weight", "pooling_layer.projection.weight"} <= set(after)


def with_keys(recipe: dict[str, Any], group: str, **keys: Any) -> dict[str, Any]:
    return recipe | {group: recipe[group] | keys}


def unknown_label(data: Path) -> None:
    (data / "dict.label.txt").write_text("high 10\nlow 10\n")


def one_label(data: Path) -> None:
    (data / "dict.label.txt").write_text("high 10\n")
    for file in data.glob("*.label"):
        file.write_text("high\n" * len(file.read_text().splitlines()))


def short_file(data: Path) -> None:
    lines = (data / "train.label").read_text().splitlines()
    (data / "train.label").write_text("\n".join(lines[:-2]) + "\n")


def two_labels(data: Path) -> None:
    lines = (data / "train.label").read_text().splitlines()
    (data / "train.label").write_text("\n".join([*lines[:4], "high low", *lines[5:]]) + "\n")


def one_trained(data: Path) -> None:
    (data / "train.label").write_text("low\n" * SIZES["train"])


def change_manifest(data: Path, path: str, frames: str) -> None:
    """Replace both fields of an utterance, where a replacement is given."""
    lines = (data / "train.tsv").read_text().splitlines()
    before = lines[3].split("\t")
    lines[3] = f"{path or before[0]}\t{frames or before[1]}"
    (data / "train.tsv").write_text("\n".join([*lines, ""]))


def other_frames(data: Path) -> None:
    change_manifest(data, "", "9000")


def no_audio(data: Path) -> None:
    change_manifest(data, "nothing.flac", "")


BAD_DATA: dict[str, tuple[Callable[[Path], None], str]] = {
    "a label that the dictionary lacks": (unknown_label, "valid.label:3: symbol 'middle' is not in the dictionary"),
    "one label only": (one_label, "dict.label.txt: 1 label(s) ('high'); a classifier needs two at least"),
    "fewer labels": (short_file, "train.label:29: 28 lines for 30 utterances"),
    "two labels": (two_labels, "train.label:5: 2 labels in 'high low'; an utterance has one, without spaces"),
    "one label to train on": (one_trained, "train.label: every label is 'low'; a classifier needs two at least"),
    "frames of other audio": (other_frames, "9000 frames in the manifest, "),
    "audio that is not there": (no_audio, "train.tsv:4: no such file "),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_labels_that_cannot_be_trained_on(made: SimpleNamespace, tmp_path: Path, name: str) -> None:
    spoil, expected = BAD_DATA[name]
    shutil.copytree(made.data, tmp_path / "data")
    spoil(tmp_path / "data")
    recipe = with_keys(made.recipe, "task", data=str(tmp_path / "data"))
    with pytest.raises(OneLineExit, match=r".") as stop:
        train(recipe, tmp_path / "run", **KEYS)
    assert expected in str(stop.value), stop.value
    if not name.startswith("one label"):  # which is no fault of the folder for other uses
        assert main(["manifest", "check", str(tmp_path / "data")]) == 1


BAD_KEYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "pooling": ("model", {"pooling": "first_token"}, "model.pooling='first_token': must be mean"),
    "stock": ("model", {"_name": "wav2vec_classification"}, "must be parp_wav2vec_classification"),
    "ctc model": ("model", {"_name": "parp_wav2vec_ctc"}, "must be parp_wav2vec_classification"),
    "criterion": ("criterion", {"_name": "ctc"}, "criterion._name='ctc': must be cross_entropy"),
    "corpora": ("task", {"multi_corpus_keys": "a,b"}, "task.multi_corpus_keys='a,b': is not supported here"),
    "metric": ("checkpoint", {"best_checkpoint_metric": "wer"}, "must be one of loss, ppl, accuracy"),
    "worst": (
        "checkpoint", {"maximize_best_checkpoint_metric": False},
        "checkpoint.maximize_best_checkpoint_metric=False: must be true for accuracy: checkpoint_best.pt would be",
    ),
    "worst loss": ("checkpoint", {"best_checkpoint_metric": "loss"}, "must be false for loss"),
    "no labels": ("task", {"labels": None}, "task.labels=None: must name the files of the labels"),
    "compressed": ("task", {"text_compression_level": "low"}, "task.text_compression_level='low': must be none"),
    "part": ("task", {"subsample": 0.5}, "task.subsample=0.5: takes a part of the audio and keeps all labels"),
    "no width": ("model", {"latent_embed_dim": 0}, "model.latent_embed_dim=0: must be at least 1"),
    "no room": ("dataset", {"max_tokens": 100}, "max_tokens=100: the longest utterance has "),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_KEYS)
def test_settings_that_end_in_one_line(made: SimpleNamespace, tmp_path: Path, name: str) -> None:
    group, keys, expected = BAD_KEYS[name]
    recipe = with_keys(made.recipe, group, **keys)
    if name in ("stock", "ctc model"):
        recipe["model"] = {key: recipe["model"][key] for key in ("_name", "w2v_path")}
    with pytest.raises(OneLineExit, match=r".") as stop:
        train(recipe, tmp_path / "run", **KEYS)
    assert expected in str(stop.value), stop.value


def test_a_model_of_the_other_kind_is_refused_by_name(
    made: SimpleNamespace, ctc: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    best, sound = made.run / "checkpoint_best.pt", files_of(made, "test")[0]
    assert main(["classify", str(ctc), sound]) == 2
    assert "its task is parp_finetuning, which gives no labels; fairseq-parp transcribe" in capsys.readouterr().err
    assert main(["transcribe", str(best), sound]) == 2
    assert f"{best}: holds a classifier; fairseq-parp classify prints its labels" in capsys.readouterr().err
    with pytest.raises(OneLineExit, match="parp_audio_classification"):
        generate(made, "parp_finetuning", tmp_path)


def test_a_split_with_a_label_that_the_model_does_not_know(
    made: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = made.tones / "other.tsv"
    table.write_text((made.tones / "tones.tsv").read_text().replace("\tmiddle\t", "\tmedium\t"))
    write_table(table, tmp_path / "data", label="pitch")
    assert main(["classify", str(made.run / "checkpoint_best.pt"), "--data", str(tmp_path / "data")]) == 2
    assert "test.label:3: symbol 'medium' is not in the dictionary" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["FILE", "--data", "D"], "name inputs, or a data folder by --data"),
        ([], "name inputs, or a data folder by --data"),
        (["FILE", "--plot", "c.png"], "--plot='c.png': needs true labels"),
    ],
)
def test_arguments_that_do_not_go_together(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "CKPT", *words]) == 2
    assert expected in capsys.readouterr().err


def test_a_table_with_one_label_to_train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its validation has three; a table for testing alone may have one, under the dictionary of the training."""
    table, data = labelled.make_table(tmp_path / "tones", {"train": 3, "valid": 3}), tmp_path / "data"
    head, *rows = table.read_text().splitlines()
    cells = [row.split("\t") for row in rows]
    one = [[path, "high" if split == "train" else label, split] for path, label, split in cells]
    table.write_text("\n".join([head, *("\t".join(row) for row in one), ""]))
    assert main(["manifest", "table", str(table), "--label", "pitch", "--out", str(data)]) == 2
    assert f"--label='pitch': {table} has one label to train on, 'high'" in capsys.readouterr().err
    assert not data.exists()
    table.write_text(f"{head}\n{cells[0][0]}\thigh\ttest\n")
    (tmp_path / "dict.label.txt").write_text("high 1\nlow 1\n")
    asked = ["--dictionary", str(tmp_path / "dict.label.txt"), "--out", str(data)]
    assert main(["manifest", "table", str(table), "--label", "pitch", *asked]) == 0
    assert (data / "test.label").read_text() == "high\n"
