"""A user's mistake in fairseq's own commands: one line that names it, status 1, no traceback, nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny
import torch
from mistakes import drop_line, one_line, spoil

from fairseq_parp.sparsity import MaskSet

BAD_KEYS = {
    "sparsity": (["task.pruning.sparsity=1.5"], "task.pruning.sparsity=1.5: must be a number in [0, 1)"),
    "interval": (["task.pruning.interval=0"], "task.pruning.interval=0: must be a whole number of updates >= 1"),
    "method": (
        ["task.pruning.method=magic"],
        "task.pruning.method='magic': must be one of dense, fixed, ",
    ),
    "misspelt": (["+task.pruning.sparsty=0.5"], "task.pruning.sparsty=0.5: no such key; did you mean sparsity?"),
    "wrong type": (["task.pruning.sparsity=half"], "task.pruning.sparsity='half': must be a number in [0, 1)"),
    "not a mapping": (["task.pruning=parp"], "task.pruning='parp': must be a mapping"),
    "scope": (["+task.pruning.scope=[nothing]"], "task.pruning.scope: 'nothing' matches no parameter"),
    "no mask file": (["+task.pruning.mask=none.safetensors"], "no mask file at {cwd}/none.safetensors"),
    "normalize": (["task.normalize=true"], "task.normalize=True: the pretrained model has normalize=False"),
    "layer type": (
        ["+model.layer_type=conformer"],
        "model.layer_type='conformer': must be transformer, as in ",
    ),
    "choice": (
        ["+task.text_compression_level=most"],
        "task.text_compression_level='most': must be one of none, low, high",
    ),
    "misspelt key of the task": (["+task.labls=ltr"], "task.labls='ltr': no such key; did you mean labels? Known keys"),
    "no number": (["model.layerdrop=often"], "model.layerdrop='often': must be a number"),
    "no data": (["task.data=nowhere"], "{cwd}/nowhere"),
    "no checkpoint": (["model.w2v_path=none.pt"], "{cwd}/none.pt: no such file"),
    "labels": (["task.labels=wrd"], "; the folder has labels ltr: task.labels names one"),
    "save_dir": (["checkpoint.save_dir=/proc/none"], "checkpoint.save_dir='/proc/none': cannot be written to (No such"),
    "no checkpoint named": (["model.w2v_path='???'"], "model.w2v_path='???': must be the path"),
    "no data named": (["task.data='???'"], "task.data='???': must be the folder of the manifests"),
    "sharded": (
        ["distributed_training.ddp_backend=fully_sharded"],
        "distributed_training.ddp_backend='fully_sharded': is not supported: a rank sees only its shard",
    ),
    "amp": (["common.amp=true"], "common.amp=true does nothing on a CPU"),
    "ema": (["ema.store_ema=true"], "ema.store_ema=True: must be false"),
    "ramp": (
        ["task.pruning.method=parp_p", "optimization.max_update=0"],
        "optimization.max_update=None: parp_p needs it",
    ),
    "max_tokens": (
        ["dataset.max_tokens_valid=9000", "dataset.skip_invalid_size_inputs_valid_test=false"],
        "max_tokens=9000: the longest utterance has",
    ),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str) -> None:
    keys, expected = BAD_KEYS[case]
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, pretrained, *keys), expect=None)
    one_line(done, expected.format(cwd=tmp_path))
    assert not list(tmp_path.rglob("*.pt"))


def test_the_traceback_is_there_for_those_who_ask(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    arguments = tiny.training(tmp_path, data, pretrained, "task.pruning.sparsity=1.5")
    done = commands.train(tmp_path, arguments, expect=None, HYDRA_FULL_ERROR="1")
    assert done.status != 0
    assert "Traceback" in done.err
    assert "ConfigError: task.pruning.sparsity=1.5" in done.err


BAD_DATA = {
    "missing audio": (lambda d: (d / "train-4.flac").unlink(), "train.tsv:6: no such file"),
    "empty manifest": (lambda d: (d / "train.tsv").write_text(f"{d}\n"), "train.tsv"),
    "no manifest": (lambda d: (d / "valid.tsv").unlink(), "valid.tsv"),
    "no dictionary": (lambda d: (d / "dict.ltr.txt").unlink(), "dict.ltr.txt"),
    "label count": (lambda d: drop_line(d / "train.ltr"), "train.ltr:13: 12 lines for 13 utterances"),
    "symbol": (
        lambda d: (d / "train.ltr").write_text("A Z |\n" * 13),
        "train.ltr:1: symbol 'Z' is not in the dictionary",
    ),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str) -> None:
    damage, expected = BAD_DATA[case]
    copied = spoil(data, tmp_path)
    damage(copied)
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", copied, pretrained), expect=None)
    one_line(done, expected)


def truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:5000])


class RunsCode:
    """Pickles into a call."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.mark}",)


BAD_CHECKPOINTS = {
    "truncated": (truncated, "truncated, damaged or not a checkpoint"),
    "text": (lambda path, _good: path.write_text("hello"), "pretrained.pt: "),
    "empty": (lambda path, _good: path.write_bytes(b""), "truncated, damaged or not a checkpoint"),
    "foreign": (
        lambda path, _good: torch.save({"state_dict": {}}, path),
        "not a fairseq checkpoint; it holds: state_dict",
    ),
    "a tensor": (lambda path, _good: torch.save(torch.ones(3), path), "holds a Tensor, not a fairseq checkpoint"),
    "code": (
        lambda path, _good: torch.save({"model": {}, "cfg": RunsCode(path.with_name("mark"))}, path),
        "refused: its pickle asks for posix.system",
    ),
}


@pytest.mark.parametrize("case", BAD_CHECKPOINTS)
def test_bad_pretrained_files(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str) -> None:
    damage, expected = BAD_CHECKPOINTS[case]
    damage(tmp_path / "pretrained.pt", pretrained)
    arguments = tiny.training(tmp_path / "run", data, tmp_path / "pretrained.pt")
    one_line(commands.train(tmp_path, arguments, expect=None), expected)
    assert not (tmp_path / "mark").exists()


def test_a_finetuned_checkpoint_is_no_pretrained_one(
    commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path
) -> None:
    arguments = tiny.training(tmp_path, data, finetuned / "checkpoint_last.pt")
    one_line(
        commands.train(tmp_path, arguments, expect=None),
        "checkpoint_last.pt: is finetuned already, model.w2v_path takes",
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["task.pruning.method=dense"], "trained with 'parp', this command asks for 'dense'"),
        (["task.pruning.sparsity=0.6"], "trained with 0.5, this command asks for 0.6"),
        (["task.pruning.interval=5"], "interval: the checkpoint was trained with 7, this command asks for 5"),
        (["+task.pruning.scope=['.*fc1.*']"], "scope: the checkpoint was trained with 'paper', this command asks for"),
    ],
    ids=["method", "sparsity", "interval", "scope"],
)  # fmt: skip
def test_resuming_as_another_run_is_refused(
    commands: tiny.Commands,
    data: Path,
    pretrained: Path,
    finetuned: Path,
    tmp_path: Path,
    keys: list[str],
    expected: str,
) -> None:
    shutil.copy(finetuned / "checkpoint_2_3.pt", tmp_path / "checkpoint_last.pt")
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    one_line(commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys), expect=None), expected)
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_a_mask_of_another_model(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    MaskSet.of_nonzero({"w": torch.ones(3)}).save(tmp_path / "other.safetensors")
    arguments = tiny.training(tmp_path, data, pretrained, "+task.pruning.mask=other.safetensors")
    one_line(commands.train(tmp_path, arguments, expect=None), "the mask is of another model than the model to prune")


def test_weights_that_are_not_finite(commands: tiny.Commands, data: Path, tmp_path: Path) -> None:
    good = tiny.make_pretrained(tmp_path / "bad.pt")
    state = torch.load(good, weights_only=False)
    state["model"]["encoder.layers.1.fc1.weight"][0, 0] = float("nan")
    torch.save(state, good)
    done = commands.train(tmp_path, tiny.training(tmp_path / "run", data, good), expect=None)
    one_line(done, "w2v_encoder.w2v_model.encoder.layers.1.fc1.weight: 1 NaN or infinite value(s) at update 0")


DECODING = {
    "no checkpoint": ([], "none.pt: no such file"),
    "nbest": (["--nbest", "9"], "nbest=9: must be from 1 to beam"),
    "an option that CTC cannot honour": (["--lenpen", "2"], "lenpen=2.0: CTC decoding cannot honour this option"),
    "max_tokens": (["--max-tokens", "9000"], "max_tokens=9000: the longest utterance has"),
}


@pytest.mark.parametrize("case", DECODING)
def test_bad_decoding(commands: tiny.Commands, data: Path, finetuned: Path, tmp_path: Path, case: str) -> None:
    options, expected = DECODING[case]
    path = tmp_path / "none.pt" if case == "no checkpoint" else finetuned / "checkpoint_last.pt"
    one_line(commands.generate(data, path, tmp_path / "out", *options, expect=None), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--labels", "ltr"], "pretrained.pt: was not finetuned on labels, so it cannot be decoded"),
        ([], "pretrained.pt names none; it is not finetuned, or --labels names them"),
    ],
    ids=["labels", "no labels"],
)
def test_a_pretrained_file_is_not_decoded(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, options: list[str], expected: str
) -> None:
    one_line(commands.generate(data, pretrained, tmp_path / "out", *options, expect=None), expected)
