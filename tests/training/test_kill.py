"""SIGKILL inside every kind of moment, the same command again, and bit for bit the run that was never killed."""

from __future__ import annotations

import itertools
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import moments
import pytest
import tiny
from comparing import compare

from fairseq_parp.mask_files.making import make_mask
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity import METHODS
from fairseq_parp.sparsity.counting import zero_count

WITHOUT_REPRUNES = {name for name in METHODS if not METHODS[name].facts.reprunes or METHODS[name].facts.grows}

# Saves are 3 updates apart, re-prunes 7: so many moments after a start are far enough on for the run to get ahead.
ROUND = ["step 4", "re-prune 1", "validation 3", "checkpoint write 2", "resume 1"]

PRECISIONS = {
    "bf16": ["common.bf16=true"],
    "flat fp16": ["common.fp16=true"],
    "fp16": ["common.fp16=true", "common.fp16_no_flatten_grads=true"],
    "memory-efficient fp16": ["common.fp16=true", "common.memory_efficient_fp16=true"],
}


def kinds(round_: list[str]) -> Iterator[str]:
    return (moment.rpartition(" ")[0] for moment in round_)


def kill_and_resume(commands: tiny.Commands, folder: Path, arguments: list[str], wanted: list[str]) -> Counter[str]:
    """Kill a run inside each of the ``wanted`` moments, repeating one command; let it end; count kills by moment."""
    killed: Counter[str] = Counter()
    for moment in wanted:
        done = commands.train(folder, arguments, expect=-signal.SIGKILL, kill_at=moments.WAITING, MOMENT=moment)
        inside = re.search(rf"{moments.WAITING}: ([a-z -]+)", done.out)
        assert inside
        killed[inside[1].strip()] += 1
    commands.train(folder, arguments)
    return killed


def both(
    commands: tiny.Commands, data: Path, pretrained: Path, folder: Path, wanted: list[str], *keys: str
) -> Counter[str]:
    """Run once straight and once with kills; both must end the same. Return the kills by moment."""
    straight, broken = folder / "straight", folder / "broken"
    for each in (straight, broken):
        each.mkdir()
    done = commands.train(straight, tiny.training(straight, data, pretrained, *keys))
    (straight / "log").write_text(done.out)
    killed = kill_and_resume(commands, broken, tiny.training(broken, data, pretrained, *keys), wanted)
    assert compare(broken / "checkpoint_last.pt", straight / "checkpoint_last.pt") == []
    counted = report(broken / "checkpoint_last.pt").prunable
    method = next((key.split("=")[1] for key in keys if "method" in key), "parp")
    k = 0 if method == "dense" else zero_count(0.5, counted.size)
    assert counted.zeros == k or (METHODS[method].facts.grows and counted.zeros > k)
    return killed


def test_killed_once_inside_each_moment(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path) -> None:
    killed = both(commands, data, pretrained, tmp_path, ROUND)
    assert set(killed) == set(moments.MOMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_twenty_times(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, method: str
) -> None:
    round_ = [moment for moment in ROUND if method not in WITHOUT_REPRUNES or "re-prune" not in moment]
    wanted = list(itertools.islice(itertools.cycle(round_), 20))
    keys = [f"task.pruning.method={method}", "optimization.max_update=50"]
    if method == "fixed":
        make_mask(pretrained, 0.5, "random").save(tmp_path / "mask.safetensors")
        keys.append(f"+task.pruning.mask={tmp_path / 'mask.safetensors'}")
    killed = both(commands, data, pretrained, tmp_path, wanted, *keys)
    assert sum(killed.values()) == 20
    assert set(killed) == set(kinds(round_))


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_half_precisions_are_bit_exact_too(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path, precision: str
) -> None:
    # A scale that rises every third update, from where it overflows: the scaler's counters matter.
    keys = ["common.fp16_scale_window=3", "common.fp16_init_scale=4096"] if "fp16" in precision else []
    both(commands, data, pretrained, tmp_path, ROUND, *PRECISIONS[precision], *keys)
    overflowed = "gradient overflow detected" in (tmp_path / "straight" / "log").read_text()
    assert overflowed == ("fp16" in precision)


def stock_recipe(folder: Path) -> Path:
    """Turn the tiny PARP recipe back into a stock one: two names and one key."""
    text = tiny.CONFIG.read_text()
    text = text.replace("parp_finetuning", "audio_finetuning").replace("parp_wav2vec_ctc", "wav2vec_ctc")
    text = re.sub(r"  pruning:\n(    .*\n)+", "", text)
    path = folder / "stock.yaml"
    path.write_text(text)
    return path


def test_stock_fairseq_fails_the_same_comparison(
    commands: tiny.Commands, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """The check bites: stock fairseq, helped over loading, ends elsewhere after one kill."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    for folder in (straight, broken):
        folder.mkdir()
    config = stock_recipe(tmp_path)
    commands.train(straight, tiny.training(straight, data, pretrained, config=config))
    kill_and_resume(commands, broken, tiny.training(broken, data, pretrained, config=config), ["step 9"])
    different = compare(broken / "checkpoint_last.pt", straight / "checkpoint_last.pt")
    assert len([name for name in different if "encoder.layers" in name]) > 10
