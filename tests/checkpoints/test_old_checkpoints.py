"""Finetuned checkpoints of other tasks and of older fairseq, and those that lack a part."""

from __future__ import annotations

import copy
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf

from fairseq_parp import checkpoints, cli
from fairseq_parp.errors import CheckpointError, ConfigError, ManifestError
from fairseq_parp.tasks._vocabulary import read_dictionary
from fairseq_parp.transcription import loading
from fairseq_parp.transcription.transcriber import Transcriber

State = dict[str, Any]

GROUPS = ("common", "dataset", "optimization", "checkpoint", "distributed_training", "generation")


@pytest.fixture(scope="module")
def state(finetuned: Path) -> State:
    """A finetuned checkpoint as stock ``audio_finetuning`` would have saved it."""
    state: State = torch.load(finetuned / "checkpoint_last.pt", weights_only=False)
    stock = {"_name": "audio_finetuning", "data": "/gone/data", "labels": "ltr"}
    state["cfg"]["task"] = {**stock, "normalize": False, "sample_rate": 16000}
    state["cfg"]["model"] |= {"_name": "wav2vec_ctc", "w2v_path": "/gone/pretrained.pt"}
    state["cfg"]["common"]["user_dir"] = None
    return state


def without_hydra(state: State) -> None:
    """What fairseq saved in 2020: flat Namespaces, the pretrained model's inside."""
    cfg = state["cfg"]
    inner = {k: v for k, v in cfg["model"]["w2v_args"]["model"].items() if not str(v).startswith("${")}
    inner |= {"arch": "wav2vec2", "task": "audio_pretraining", "criterion": "wav2vec", "data": "/x", "normalize": False}
    flat: dict[str, Any] = {}
    for group in ("model", *GROUPS):
        flat = {**cfg[group], **flat}
    flat |= {**cfg["task"], "arch": "wav2vec_ctc", "task": "audio_pretraining", "criterion": "ctc"}
    flat |= {"optimizer": "adam", "lr_scheduler": "tri_stage", "w2v_args": Namespace(**inner)}
    del flat["_name"]
    state |= {"args": Namespace(**flat), "cfg": None}


def with_refused_values(state: State) -> None:
    """Values that their keys refuse today, of keys that decide nothing about the model."""
    without_hydra(state)
    vars(state["args"]).update(post_process=None, ddp_backend="apex", mask_prob=None)
    state["args"].w2v_args.quantizer_depth = None


def with_an_inner_config(state: State) -> None:
    """The outer config a flat Namespace, the pretrained model's a config of today."""
    inner = copy.deepcopy(state["cfg"]["model"]["w2v_args"])
    without_hydra(state)
    state["args"].w2v_args = inner


OLD: dict[str, Callable[[State], object]] = {
    "of stock audio_finetuning": lambda _state: None,
    "of the task audio_pretraining": lambda s: s["cfg"]["task"].update(_name="audio_pretraining"),
    "of before hydra": without_hydra,
    "of before hydra, with values that are refused today": with_refused_values,
    "of before hydra, the pretrained model's config a flat dict": lambda s: (
        without_hydra(s),
        vars(s["args"]).update(w2v_args=vars(s["args"].w2v_args)),
    ),
    "of before hydra, the pretrained model's config one of today": with_an_inner_config,
    "of weights and config alone": lambda s: [s.pop(key) for key in ("extra_state", "optimizer_history")],
    "of an unknown criterion": lambda s: s["cfg"].update(criterion={"_name": "mine"}),
    "of before hydra and an unknown criterion": lambda s: (without_hydra(s), vars(s["args"]).update(criterion="mine")),
    "with keys of another version": lambda s: [s["cfg"][group].update(new=3) for group in ("task", "model")],
    "with keys of another version inside": lambda s: [
        s["cfg"]["model"]["w2v_args"]["task"].update(new=3),
        s["cfg"]["task"].update(eval_wer_config={**s["cfg"]["generation"], "new": 3}),
    ],
}

LACKING: dict[str, tuple[Callable[[State], object], str]] = {
    "task_state": (lambda s: s.pop("task_state"), "--dictionary dict.ltr.txt"),
    "a dictionary": (lambda s: s["task_state"].clear(), "--dictionary dict.ltr.txt"),
    "a dictionary of fairseq's": (
        lambda s: s["task_state"].update(target_dictionary=["A"]),
        "--dictionary dict.ltr.txt",
    ),
    "the encoder's config": (
        lambda s: s["cfg"]["model"].update(w2v_args=None),
        r"/gone/pretrained.pt does not exist; name the pretrained file: --override model.w2v_path=FILE",
    ),
}


UNUSABLE: dict[str, tuple[Callable[[State], object], str]] = {
    "a list as task_state": (lambda s: s.update(task_state=[1]), "damaged: its task_state is a list"),
    "a number as extra_state": (lambda s: s.update(extra_state=1), "damaged: its extra_state is a int"),
    "no task": (lambda s: s["cfg"].pop("task"), r"does not name a model and a task \(model._name, task._name\)"),
    "a text as model": (lambda s: s["cfg"].update(model="x"), "its config does not name a model and a task"),
    "a model of other code": (
        lambda s: s["cfg"]["model"].update(_name="mine"),
        "its model 'mine' is not registered here",
    ),
    "a task of other code": (
        lambda s: s["cfg"]["task"].update(_name="mine"),
        "its task 'mine' .* --override task._name=",
    ),
    "no labels": (lambda s: s["cfg"]["task"].pop("labels"), "does not name its labels .* --override task.labels=ltr"),
    "half an encoder's config": (
        lambda s: s["cfg"]["model"]["w2v_args"].pop("task"),
        "its model.w2v_args is not the config of a pretrained model; set it to null, and name the pretrained file",
    ),
    "a choice of the model's": (
        lambda s: (without_hydra(s), vars(s["args"]).update(mask_selection="odd")),
        "Invalid value 'odd', expected one of",
    ),
}


def saved(state: State, path: Path, *changes: Callable[[State], object]) -> Path:
    changed = {**state, **{key: copy.deepcopy(state[key]) for key in ("cfg", "task_state")}}
    for change in changes:
        change(changed)
    torch.save(changed, path)
    return path


@pytest.fixture(scope="module")
def expected(finetuned: Path, data: Path) -> torch.Tensor:
    return Transcriber(finetuned / "checkpoint_last.pt").log_probs(data / "test-0.flac")


@pytest.mark.parametrize("case", OLD)
def test_they_are_decoded(state: State, data: Path, tmp_path: Path, expected: torch.Tensor, case: str) -> None:
    transcriber = Transcriber(saved(state, tmp_path / "old.pt", OLD[case]))
    assert torch.equal(transcriber.log_probs(data / "test-0.flac"), expected)


@pytest.mark.parametrize("case", LACKING)
def test_what_they_lack_is_named_with_the_way_out(
    state: State, data: Path, pretrained: Path, tmp_path: Path, expected: torch.Tensor, case: str
) -> None:
    change, way_out = LACKING[case]
    old = saved(state, tmp_path / "old.pt", OLD["of the task audio_pretraining"], change)
    with pytest.raises(CheckpointError, match=way_out):
        Transcriber(old)
    given = {"dictionary": data / "dict.ltr.txt", "overrides": {"model.w2v_path": str(pretrained)}}
    assert torch.equal(Transcriber(old, **given).log_probs(data / "test-0.flac"), expected)


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_one_line(state: State, tmp_path: Path, case: str) -> None:
    change, message = UNUSABLE[case]
    with pytest.raises(CheckpointError, match=message):
        loading.load_finetuned(saved(state, tmp_path / "old.pt", change))


def test_a_task_and_labels_are_overridden(state: State, data: Path, tmp_path: Path, expected: torch.Tensor) -> None:
    old = saved(state, tmp_path / "old.pt", UNUSABLE["a task of other code"][0], UNUSABLE["no labels"][0])
    given = {"task._name": "audio_finetuning", "task.labels": "ltr"}
    assert torch.equal(Transcriber(old, overrides=given).log_probs(data / "test-0.flac"), expected)


def test_values_that_are_refused_are_named(state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loading.load_finetuned(saved(state, tmp_path / "old.pt", with_refused_values))
    for named in ("post_process=None", "ddp_backend='apex'", "mask_prob=None", "quantizer_depth=None"):
        assert f"{named} is refused by this fairseq; its default is taken" in caplog.text
    assert "Error when composing" not in caplog.text


def test_the_command_takes_a_dictionary_and_overrides(
    state: State, data: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = saved(state, tmp_path / "old.pt", *(LACKING[case][0] for case in ("task_state", "the encoder's config")))
    options = ["--dictionary", str(data / "dict.ltr.txt"), "--override", f"model.w2v_path={pretrained}"]
    assert cli.main(["transcribe", str(old), str(data / "test-0.flac"), *options]) == 0
    assert capsys.readouterr().out.startswith(f"{data}/test-0.flac\t")


def test_a_dictionary_or_an_override_that_does_not_fit(state: State, tmp_path: Path) -> None:
    old = saved(state, tmp_path / "old.pt")
    (tmp_path / "dict.ltr.txt").write_text("A 1\nB 1\n")
    with pytest.raises(CheckpointError, match=r"finetuned on 9 symbols.*dict.ltr.txt has 6"):
        loading.load_finetuned(old, tmp_path / "dict.ltr.txt")
    with pytest.raises(ManifestError, match=r"nothing.txt"):
        loading.load_finetuned(old, tmp_path / "nothing.txt")
    with pytest.raises(ConfigError, match=r"model.w2v_paths.*did you mean model.w2v_path"):
        loading.load_finetuned(old, overrides={"model.w2v_paths": "x"})


def test_fairseq_generate_takes_the_dictionary_of_the_data(
    commands: tiny.Commands, state: State, finetuned: Path, data: Path, tmp_path: Path
) -> None:
    old = saved(state, tmp_path / "old.pt", LACKING["task_state"][0], OLD["of before hydra"])
    done = [
        commands.generate(data, path, tmp_path / path.stem, "--labels", "ltr", "--beam", "1")
        for path in (finetuned / "checkpoint_last.pt", old)
    ]
    assert "old.pt holds no dictionary; the data's is used" in done[1].out + done[1].err
    one, other = (
        [line for line in (tmp_path / name / "generate-test.txt").read_text().splitlines() if line[:2] in ("H-", "T-")]
        for name in ("checkpoint_last", "old")
    )
    assert one == other != []


def test_fairseq_generate_without_the_pretrained_file(
    commands: tiny.Commands, state: State, data: Path, tmp_path: Path
) -> None:
    old = saved(state, tmp_path / "old.pt", LACKING["the encoder's config"][0])
    done = commands.generate(data, old, tmp_path / "out", "--labels", "ltr", "--beam", "1", expect=1)
    assert "/gone/pretrained.pt does not exist" in done.last_line
    assert "--model-overrides \"{'w2v_path': 'FILE'}\"" in done.last_line


OBJECTS: dict[str, Callable[[State], object]] = {
    "whole": lambda s: s.update(cfg=OmegaConf.create(s["cfg"])),
    "inside": lambda s: s["cfg"]["model"].update(w2v_args=OmegaConf.create(s["cfg"]["model"]["w2v_args"])),
}


@pytest.mark.parametrize("part", OBJECTS)
def test_a_config_that_is_an_object(
    part: str, state: State, data: Path, tmp_path: Path, expected: torch.Tensor
) -> None:
    old = saved(state, tmp_path / "old.pt", OBJECTS[part])
    with pytest.raises(CheckpointError, match=r"an object of omegaconf's; convert it once") as caught:
        Transcriber(old)
    converted = torch.load(old, weights_only=False)
    (advice,) = re.findall(r'state\["cfg"\] = [^;]+', str(caught.value))  # the printed line itself is run
    exec(advice, {"state": converted, "OmegaConf": OmegaConf})
    assert torch.equal(Transcriber(saved(converted, old)).log_probs(data / "test-0.flac"), expected)


def dictionary_of(symbols: int) -> Dictionary:
    made = Dictionary()
    made.symbols += [f"▁tok{number}" for number in range(symbols)]
    made.count += range(symbols, 0, -1)
    made.indices = {symbol: index for index, symbol in enumerate(made.symbols)}
    return made


def test_large_vocabularies(state: State, tmp_path: Path) -> None:
    large = dictionary_of(40_000)
    old = saved(state, tmp_path / "old.pt", lambda s: s["task_state"].update(target_dictionary=large))
    assert checkpoints.read(old)["task_state"]["target_dictionary"].symbols == large.symbols
    assert read_dictionary(lambda: large, "data", "ltr") is large


def test_a_vocabulary_that_would_be_saved_and_then_refused() -> None:
    with pytest.raises(ManifestError, match=r"data/dict.ltr.txt: 300,004 symbols are too many"):
        read_dictionary(lambda: dictionary_of(300_000), "data", "ltr")
