"""Other tasks of a process that has imported the plugin: they meet stock fairseq."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
import torch
from comparing import differences
from damage import stock_training
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils
from fairseq.optim import adam
from tiny import FP16

from fairseq_parp import checkpoints
from fairseq_parp.compat import train_loop
from fairseq_parp.compat.no_eval import building
from fairseq_parp.compat.scope import act, acting, is_ours
from fairseq_parp.errors import OneLineExit
from fairseq_parp.plugin import load_plugin

SURE = ["model.mask_prob=0", "model.mask_channel_prob=0", "model.layerdrop=0"]
"""What stock fairseq draws from the operating system, switched off."""


def both(commands: tiny.Commands, module: str, arguments: Callable[[Path], list[str]], user_dir: str, cwd: Path) -> Any:
    """Run a command of another task without the plugin and with it; return how they ended and where they saved."""
    saves = [cwd / "stock", cwd / "beside"]
    each = [arguments(saves[0]), [*arguments(saves[1]), *user_dir.split()]]
    return commands.run_together(module, each, cwd), saves


def speech(commands: tiny.Commands, data: Path, pretrained: Path, cwd: Path, *keys: str) -> Any:
    def arguments(save: Path) -> list[str]:
        return stock_training(cwd, save, data, pretrained, *SURE, *keys)

    return both(commands, "fairseq_cli.hydra_train", arguments, f"+common.user_dir={tiny.PLUGIN}", cwd)


def require_same_checkpoints(done: Any, saves: list[Path]) -> None:
    assert [one.status for one in done] == [0, 0], done[1].err[-2000:]
    stock, beside = (torch.load(save / "checkpoint_last.pt", weights_only=False) for save in saves)
    assert not differences(*((one["model"], one["last_optimizer_state"]) for one in (stock, beside)))


def test_a_stock_speech_training(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    """The same weights, and an expression that is more than a literal."""
    require_same_checkpoints(
        *speech(commands, data, pretrained, tmp_path, "optimizer.adam_betas='(max(0.8, 0.9), 1 - 2e-2)'")
    )


def test_a_stock_translation(commands: tiny.Commands, tmp_path: Path) -> None:
    for language in ("de", "en"):
        (tmp_path / f"dict.{language}.txt").write_text("a 9\nb 9\nc 9\n")
        for split in ("train", "valid"):
            (tmp_path / f"{split}.de-en.{language}").write_text("a b c\nb c a\nc c a b\na\n" * 3)

    def arguments(save: Path) -> list[str]:
        return [
            str(tmp_path), "--task", "translation", "--arch", "transformer_tiny", "--dataset-impl", "raw",
            "--source-lang", "de", "--target-lang", "en", "--optimizer", "adam", "--lr", "1e-3",
            "--adam-betas", "(0.9, 1 - 2e-2)", "--max-tokens", "20", "--max-update", "6", "--cpu",
            "--save-dir", str(save),
        ]  # fmt: skip

    require_same_checkpoints(*both(commands, "fairseq_cli.train", arguments, f"--user-dir {tiny.PLUGIN}", tmp_path))


@pytest.fixture
def silent_nan(data: Path, tmp_path: Path) -> Path:
    """The corpus, with NaN samples in one of the training's files."""
    folder = tmp_path / "nan"
    folder.mkdir()
    for file in data.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    lines = (data / "train.tsv").read_text().splitlines()
    _, frames = lines[4].split("\t")
    soundfile.write(folder / "nan.wav", np.full(int(frames), np.nan), 16000, subtype="FLOAT")
    lines[0], lines[4] = str(folder), f"nan.wav\t{frames}"
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_nan_that_stock_fairseq_rides_out(
    commands: tiny.Commands, silent_nan: Path, pretrained: Path, tmp_path: Path
) -> None:
    """In fp16 it passes for an overflow. On a CPU stock fairseq dies of any overflow, which a global patch mends."""
    keys = [*FP16, "dataset.batch_size=1", "optimization.max_update=4"]
    (stock, beside), saves = speech(commands, silent_nan, pretrained, tmp_path, *keys)
    assert beside.status == 0, beside.err[-2000:]
    assert "gradient overflow detected" in beside.out
    assert torch.load(saves[1] / "checkpoint_last.pt", weights_only=False)["optimizer_history"][-1]["num_updates"] == 4
    if not torch.cuda.is_available():
        assert stock.status == 1
        assert "CUDA" in reason(stock) or "NVIDIA" in reason(stock)


def test_errors_are_stock_ones(commands: tiny.Commands, silent_nan: Path, pretrained: Path, tmp_path: Path) -> None:
    (stock, beside), _ = speech(commands, silent_nan, pretrained, tmp_path)
    assert stock.status == beside.status == 1
    assert reason(stock) == reason(beside) == "FloatingPointError: gradients are Nan/Inf"


def reason(done: tiny.Done) -> str:
    """The error that a traceback ends with, above hydra's last line."""
    return [line for line in done.err.splitlines() if line][-2]


def errors(call: Callable[[], object]) -> type[BaseException]:
    """The class of the error outside and inside of the plugin's work."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 (its class is what is looked at)
        call()
    return type(raised.value)


def missing() -> Any:
    return checkpoint_utils.load_checkpoint_to_cpu("/nowhere/checkpoint.pt")


def unwritable() -> Any:
    return checkpoint_utils.torch_persistent_save({"w": torch.ones(1)}, f"{__file__}/checkpoint.pt")


def test_functions_of_fairseq_act_as_stock_ones_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugin()
    monkeypatch.setattr(checkpoint_utils.time, "sleep", lambda _seconds: None)
    assert not acting()
    for call, stock in ((missing, FileNotFoundError), (unwritable, NotADirectoryError)):
        assert errors(call) is stock
        with act():
            assert errors(call) is OneLineExit
    few = lambda: data_utils.compute_mask_indices((300, 32), None, 0.01, 64)  # noqa: E731
    assert errors(few) in (ValueError, IndexError)
    with act():
        assert not few().any()


def test_expressions() -> None:
    load_plugin()
    with building():
        assert utils.eval_str_list("[1e-3/2, 2**3]") == [0.0005, 8.0]
        assert errors(lambda: utils.eval_str_list("[len('ab')]")) is ValueError
    assert utils.eval_str_list("[len('ab'), 2**3]") == [2.0, 8.0]
    assert vars(adam)["eval"]("sys_of_the_caller", {"sys_of_the_caller": sys}) is sys
    assert vars(adam)["eval"]("errors") is errors  # the names of the place that asks


class Theirs:
    """A class that a neighbour's own code allows."""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    state = {"cfg": {"model": {"_name": "x"}, "task": {}}, "args": None, "model": {"w": torch.ones(2)}}
    state |= {"optimizer_history": [tiny._HISTORY], "extra_state": {"val_loss": np.float64(3.5), "theirs": Theirs()}}
    torch.save(state, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_the_users_own_safe_globals(theirs: Path) -> None:
    load_plugin()
    assert errors(lambda: checkpoint_utils.load_checkpoint_to_cpu(str(theirs))) is pickle.UnpicklingError
    value = np.float64(3.5).__reduce__()
    allowed = [Theirs, value[0], np.dtype, type(np.dtype(np.float64))]
    with torch.serialization.safe_globals(allowed):
        loaded = [checkpoint_utils.load_checkpoint_to_cpu(str(theirs)), checkpoints.read(theirs)]
    assert [type(one["extra_state"]["theirs"]) for one in loaded] == [Theirs, Theirs]
    assert [one["extra_state"]["val_loss"] for one in loaded] == [3.5, 3.5]


def test_what_stock_torch_refuses_and_is_harmless_is_read(tmp_path: Path) -> None:
    old = tiny.make_pretrained(tmp_path / "old.pt", old_style=True)
    load_plugin()
    assert checkpoint_utils.load_checkpoint_to_cpu(str(old))["cfg"].model._name == "wav2vec2"


def test_who_is_ours() -> None:
    from fairseq.tasks.audio_finetuning import AudioFinetuningTask

    load_plugin()
    from fairseq_parp.tasks.parp_finetuning import ParpFinetuningTask

    class Extended(ParpFinetuningTask):
        pass

    made = [kind.__new__(kind) for kind in (AudioFinetuningTask, ParpFinetuningTask, Extended)]
    assert [is_ours(task) for task in made] == [False, True, True]
    assert is_ours(made[0], made[1])


def test_nothing_of_fairseq_is_wrapped_twice() -> None:
    from fairseq.trainer import Trainer

    from fairseq_parp import compat

    load_plugin()
    before = Trainer.train_step, checkpoint_utils.save_checkpoint, vars(utils)["eval"]
    compat.install()
    assert before == (Trainer.train_step, checkpoint_utils.save_checkpoint, vars(utils)["eval"])
    assert inspect.unwrap(Trainer.train_step).__module__ == "fairseq.trainer"


def test_another_tasks_attribute_run_is_left_alone() -> None:
    """A task of others may call something else ``run``: the wrapped train loop passes it by."""

    class Other:
        def run(self) -> None:
            """Stand for any attribute of that name."""

    task, trainer = Other(), SimpleNamespace(task=Other())
    loop = ModuleType("loop")
    train = train_loop._train(lambda *given: given, loop)
    save = train_loop._validate_and_save(lambda *given: (given, False))
    load = train_loop._load_checkpoint(lambda *given: (None, given))
    assert train("cfg", trainer, task, "epoch") == ("cfg", trainer, task, "epoch")
    assert save("cfg", trainer, task, "epoch", ["valid"], True)[0] == ("cfg", trainer, task, "epoch", ["valid"], True)
    assert load("cfg", trainer) == (None, ("cfg", trainer))
