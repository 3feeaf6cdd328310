"""Every precision that a CPU can run: exact zeros in weights and masters, overflows, another precision on resume."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from comparing import compare

from fairseq_parp import checkpoints
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count

PRECISIONS = {
    "fp32": [],
    "bf16": ["common.bf16=true"],
    "flat fp16": ["common.fp16=true"],
    "fp16": ["common.fp16=true", "common.fp16_no_flatten_grads=true"],
    "memory-efficient fp16": ["common.fp16=true", "common.memory_efficient_fp16=true"],
}
WITH_MASTERS = {"bf16", "flat fp16", "fp16"}
HALF = [name for name in PRECISIONS if name != "fp32"]


def require_exact_zeros(file: Path) -> None:
    counted = report(file).prunable
    assert counted.zeros == zero_count(0.5, counted.size), file.name


@pytest.fixture(scope="module")
def half(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Finished runs of the half precisions by name, made where asked for: re-prunes and saves at updates 3 and 6."""

    @functools.cache
    def folder_of(name: str) -> Path:
        folder = tmp_path_factory.mktemp("half")
        keys = [*PRECISIONS[name], "optimization.max_update=8", "task.pruning.interval=3"]
        commands.train(folder, tiny.training(folder, data, pretrained, *keys))
        return folder

    return folder_of


def mostly_slow(names: Iterable[Any], fast: set[Any]) -> list[Any]:
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("precision", HALF)
def test_weights_and_masters_have_the_same_zeros(half: Callable[[str], Path], precision: str) -> None:
    files = list(half(precision).glob("*.pt"))
    assert len(files) >= 3
    for file in files:
        require_exact_zeros(file)
    # saved straight after a re-prune: weights are their masters rounded, and the zeros of one are those of the other
    state = checkpoints.read(half(precision) / "checkpoint_last.pt")
    masters = state["extra_state"]["ParpFinetuningTask"]["optimizer"]["masters"]
    assert bool(masters) == (precision in WITH_MASTERS)
    assert not masters or len(masters) == len(state["model"])
    rounded = torch.bfloat16 if precision == "bf16" else torch.float16
    for master, weight in zip(masters, state["model"].values(), strict=False):
        assert torch.equal(master.to(rounded).float(), weight)  # fairseq stores half-precision weights as fp32
        assert torch.equal(master == 0, weight == 0)


@pytest.mark.parametrize("precision", mostly_slow(HALF, {"flat fp16"}))
def test_resuming_is_exact(
    commands: tiny.Commands, data: Path, pretrained: Path, half: Callable[[str], Path], tmp_path: Path, precision: str
) -> None:
    saved = half(precision) / "checkpoint_2_3.pt"
    shutil.copy(saved, tmp_path / "checkpoint_last.pt")
    keys = [*PRECISIONS[precision], "optimization.max_update=8", "task.pruning.interval=3"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert compare(tmp_path / "checkpoint_last.pt", half(precision) / "checkpoint_last.pt") == []


def test_without_the_saved_masters_resuming_is_not_exact(
    commands: tiny.Commands, data: Path, pretrained: Path, half: Callable[[str], Path], tmp_path: Path
) -> None:
    """The check bites: this is what stock fairseq's checkpoint, which lacks the masters, would give."""
    state = torch.load(half("bf16") / "checkpoint_2_3.pt", weights_only=False)
    state["extra_state"]["ParpFinetuningTask"]["optimizer"]["masters"] = []
    torch.save(state, tmp_path / "checkpoint_last.pt")
    keys = [*PRECISIONS["bf16"], "optimization.max_update=8", "task.pruning.interval=3"]
    commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert len(compare(tmp_path / "checkpoint_last.pt", half("bf16") / "checkpoint_last.pt")) > 10
    require_exact_zeros(tmp_path / "checkpoint_last.pt")


OVERFLOWS = {
    "flat fp16": (["common.fp16_init_scale=65536", "common.fp16_scale_window=2"], {}),
    "fp16": (["common.fp16_init_scale=65536", "common.fp16_scale_window=2"], {}),
    "memory-efficient fp16": (["common.fp16_init_scale=65536", "common.fp16_scale_window=2"], {}),
    # amp's own optimizer and gradient scaler, the latter made for a CPU; fairseq's autocast stays idle there
    "amp": (["common.amp=true"], {"AMP_ON_CPU": "1"}),
}


@pytest.mark.parametrize("precision", mostly_slow(OVERFLOWS, {"fp16", "amp"}))
def test_an_overflow_neither_prunes_twice_nor_skips_a_reprune(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, precision: str
) -> None:
    keys, environment = OVERFLOWS[precision]
    keys = [*PRECISIONS.get(precision, []), *keys, "optimization.max_update=8", "task.pruning.interval=1"]
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys), MOMENT="tell", **environment)
    assert len(re.findall("overflow detected", done.out)) >= 2
    assert re.findall(r"inside: re-prune (\d+)", done.out) == [str(update) for update in range(1, 9)]
    require_exact_zeros(tmp_path / "checkpoint_last.pt")


CONTINUES = {
    ("fp16", "bf16"): "the fp32 masters are the checkpoint's, the weights are rounded from them",
    ("bf16", "fp16"): "the fp32 masters are the checkpoint's, the weights are rounded from them",
    ("fp32", "bf16"): "the fp32 masters start from the checkpoint's weights",
    ("fp32", "memory-efficient fp16"): "the weights are the checkpoint's, there are no fp32 masters",
    ("flat fp16", "fp32"): "the weights are the checkpoint's, there are no fp32 masters",
}


@pytest.mark.parametrize("pair", mostly_slow(CONTINUES, {("fp16", "bf16"), ("fp32", "bf16")}), ids="-".join)
def test_resuming_in_another_precision_says_what_becomes_of_the_masters(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, half: Callable[[str], Path], tmp_path: Path,
    pair: tuple[str, str],
) -> None:  # fmt: skip
    was, now = pair
    folder = finetuned if was == "fp32" else half(was)
    shutil.copy(folder / "checkpoint_2_3.pt", tmp_path / "checkpoint_last.pt")
    keys = [*PRECISIONS[now], "optimization.max_update=8", f"task.pruning.interval={7 if was == 'fp32' else 3}"]
    if {was, now} != {"fp16", "bf16"}:
        keys.append("checkpoint.reset_optimizer=true")  # without it: the next test
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys))
    assert f"trained in {was} so far, in {now} from here on: {CONTINUES[was, now]}" in done.out
    for file in tmp_path.glob("checkpoint_*_*.pt"):
        require_exact_zeros(file)


@pytest.mark.parametrize(
    ("was", "now", "reason"),
    [
        ("fp32", "bf16", "its optimizer is FairseqAdam, that of this run FP16Optimizer (another precision?)"),
        ("flat fp16", "bf16", "its optimizer holds other tensors than that of this run (flat fp16 masters, or not?)"),
    ],
)
def test_an_optimizer_that_does_not_fit_is_one_line(
    commands: tiny.Commands, data: Path, pretrained: Path, finetuned: Path, half: Callable[[str], Path], tmp_path: Path,
    was: str, now: str, reason: str,
) -> None:  # fmt: skip
    folder = finetuned if was == "fp32" else half(was)
    shutil.copy(folder / "checkpoint_2_3.pt", tmp_path / "checkpoint_last.pt")
    keys = [*PRECISIONS[now], f"task.pruning.interval={7 if was == 'fp32' else 3}"]  # that of the checkpoint
    done = commands.train(tmp_path, tiny.training(tmp_path, data, pretrained, *keys), expect=None)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert done.last_line.startswith(f"fairseq_parp: {tmp_path}/checkpoint_last.pt: {reason}; repeat the original")
