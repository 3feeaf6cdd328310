"""Files made to do harm: none runs code, none takes more than 2 s and 500 MB, each ends in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
import tiny
import torch
from damage import stock_training
from harmless import require_harmless
from mistakes import one_line

from fairseq_parp import checkpoints, cli
from fairseq_parp.compat.no_eval import literal
from fairseq_parp.safetensors_files import read_masks
from fairseq_parp.sparsity import MaskSet


@pytest.fixture(scope="module", autouse=True)
def warm(pretrained: Path) -> None:
    """What is imported on first use is not the file's doing."""
    checkpoints.read(pretrained)


@pytest.mark.parametrize("case", hostile.CHECKPOINTS)
def test_hostile_checkpoints(pretrained: Path, tmp_path: Path, case: str) -> None:
    file, mark = tmp_path / "hostile.pt", tmp_path / "mark"
    hostile.CHECKPOINTS[case](file, torch.load(pretrained, weights_only=False), mark)
    require_harmless(lambda: checkpoints.read(file), file, "UnreadableCheckpointError")
    assert not mark.exists()


@pytest.mark.parametrize("case", hostile.MASKS)
def test_hostile_masks(tmp_path: Path, case: str) -> None:
    file = tmp_path / "hostile.safetensors"
    file.write_bytes(hostile.MASKS[case])
    require_harmless(lambda: MaskSet.load(file), file, "MaskError")
    require_harmless(lambda: read_masks(file, "np"), file, "MaskError")


def eval_in_cfg(pretrained: Path, file: Path, mark: Path) -> None:
    state = torch.load(pretrained, weights_only=False)
    layers = state["cfg"]["model"]["conv_feature_layers"]
    state["cfg"]["model"]["conv_feature_layers"] = f"[open({str(mark)!r}, 'w'), {layers}][1]"
    torch.save(state, file)


def test_a_config_that_fairseq_evaluates(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    """The pickle is harmless, and stock fairseq runs what the config says all the same."""
    file, mark = tmp_path / "hostile.pt", tmp_path / "mark"
    eval_in_cfg(pretrained, file, mark)
    one_line(
        commands.train(tmp_path, tiny.training(tmp_path, data, file), expect=None),
        "hostile.pt: its encoder cannot be built",
    )
    assert not mark.exists()
    short = "optimization.max_update=1"
    commands.train(tmp_path, stock_training(tmp_path, tmp_path / "stock", data, file, short), expect=None)
    assert mark.exists()


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "[1] * 10 ** 9", "9 ** 9 ** 9", "(" * 500, "lambda: 1"],
)
def test_only_values_are_evaluated(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        literal(text)


def test_stock_loading_without_a_list_of_classes_runs_code(pretrained: Path, tmp_path: Path) -> None:
    """What fairseq of before torch 2.6, and its main with ``weights_only=False``, do with the same file."""
    file, mark = tmp_path / "hostile.pt", tmp_path / "mark"
    hostile.CHECKPOINTS["in the optimizer's state"](file, torch.load(pretrained, weights_only=False), mark)
    torch.load(file, weights_only=False)
    assert mark.exists()


COMMANDS = [
    "os.system",
    "in task_state",
    "zip bomb",
    "a storage longer than its record",
    "cfg that multiplies",
    "no cfg",
]


@pytest.mark.parametrize("case", COMMANDS)
def test_hostile_checkpoints_in_commands(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path, case: str
) -> None:
    mark, run, good = (
        tmp_path / "mark",
        tmp_path / "run",
        torch.load(finetuned / "checkpoint_last.pt", weights_only=False),
    )
    run.mkdir()
    hostile.CHECKPOINTS[case](run / "checkpoint_last.pt", good, mark)
    file = run / "checkpoint_last.pt"
    one_line(commands.train(tmp_path, tiny.training(run, data, pretrained), expect=None), str(file))
    one_line(commands.train(tmp_path, tiny.training(tmp_path / "w2v", data, file), expect=None), str(file))
    one_line(commands.generate(data, file, tmp_path / "out", expect=None), str(file))
    assert cli.main(["report", str(file)]) == 2
    assert not mark.exists()


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        for key in keys[:-1]:
            state = state[key]
        del state[keys[-1]]

    return change


TASK = ("extra_state", "ParpFinetuningTask", "pruning")

UNFIT: dict[str, Callable[[dict[str, Any]], object]] = {
    "no extra_state": without("extra_state"),
    "a tensor missing": lambda s: s["model"].pop(next(iter(s["model"]))),
    "a tensor of another shape": lambda s: s["model"].update({next(iter(s["model"])): torch.ones(3)}),
    "another optimizer state": lambda s: s.update(last_optimizer_state={"state": 1}),
    "a position before the start": lambda s: s["extra_state"]["train_iterator"].update(iterations_in_epoch=-1),
    "no mask": without(*TASK, "mask"),
    "a mask of other bits": lambda s: s["extra_state"][TASK[1]]["pruning"]["mask"].update(
        {name: bits[:1] for name, bits in s["extra_state"][TASK[1]]["pruning"]["mask"].items()}
    ),
    "displaced values of another number": lambda s: s["extra_state"][TASK[1]]["pruning"]["stashed"].update(
        {name: torch.ones(2) for name in s["extra_state"][TASK[1]]["pruning"]["stashed"]}
    ),
    "no updates": without("extra_state", "ParpFinetuningTask", "updates"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_last_that_does_not_fit(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, tmp_path: Path, case: str
) -> None:
    state = torch.load(finetuned / "checkpoint_5_9.pt", weights_only=False)
    UNFIT[case](state)
    torch.save(state, tmp_path / "checkpoint_last.pt")
    one_line(commands.train(tmp_path, tiny.training(tmp_path, data, pretrained), expect=None), "checkpoint")


@pytest.mark.parametrize("case", ["a header longer than the file", "a huge shape", "a pickle"])
def test_hostile_masks_in_a_training(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, case: str
) -> None:
    (tmp_path / "m.safetensors").write_bytes(hostile.MASKS[case])
    arguments = tiny.training(tmp_path, data, pretrained, "+task.pruning.mask=m.safetensors")
    one_line(commands.train(tmp_path, arguments, expect=None), f"{tmp_path}/m.safetensors: ")
