"""A compact checkpoint takes the place of the one that it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from fairseq_parp.checkpoints import read
from fairseq_parp.cli import main
from fairseq_parp.errors import CheckpointError, ConfigError
from fairseq_parp.export.exporting import export
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.mask_files.report import report


@pytest.fixture(scope="module")
def sparse(commands: tiny.Commands, data: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of PARP at 0.9."""
    folder = tmp_path_factory.mktemp("sparse")
    keys = ["task.pruning.sparsity=0.9", "optimization.max_update=3"]
    commands.train(folder, tiny.training(folder, data, pretrained, *keys))
    return folder / "checkpoint_last.pt"


def test_every_command_reads_it(sparse: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = export(sparse, "compact", tmp_path / "out")
    assert set(done.differences.values()) == {0.0}
    file = tmp_path / "out" / "model.safetensors"
    assert file.stat().st_size < sparse.stat().st_size / 4
    dense, small = report(sparse), report(file)
    assert (small.prunable, small.model, small.zeros) == (dense.prunable, dense.model, dense.zeros)
    one, other = read_mask(sparse), read_mask(file)
    assert one.churn(other) == 0
    audio = str(data / "train-0.flac")
    assert main(["transcribe", str(sparse), audio]) == 0
    text = capsys.readouterr().out
    assert main(["transcribe", str(file), audio]) == 0
    assert capsys.readouterr().out == text


def test_half_precision_keeps_the_mask_and_half_the_values(sparse: Path, data: Path, tmp_path: Path) -> None:
    state = read(sparse)
    name = next(name for name in state["model"] if name.endswith("fc1.weight"))
    weight = state["model"][name].view(-1)
    weight[weight.nonzero()[:2, 0]] = torch.tensor([1e-12, -1e-12])  # fp16 by itself would make them zero
    torch.save(state, tmp_path / "dense.pt")
    whole = export(tmp_path / "dense.pt", "compact", tmp_path / "whole")
    half = export(tmp_path / "dense.pt", "compact", tmp_path / "half", fp16=True)
    assert whole.zeros == half.zeros
    assert 0 < max(half.differences.values()) < 2e-2
    found = read(tmp_path / "half" / "model.safetensors")["model"]
    for each, value in state["model"].items():
        assert (found[each] == 0).equal(value == 0), each
        assert (found[each].float() - value).abs().max() <= 2.0**-24 + 2.0**-11 * value.abs().max(), each
    assert read_mask(tmp_path / "dense.pt").churn(read_mask(tmp_path / "half" / "model.safetensors")) == 0
    assert main(["transcribe", str(tmp_path / "half" / "model.safetensors"), str(data / "train-0.flac")]) == 0
    assert main(["report", str(tmp_path / "half" / "model.safetensors")]) == 0


def test_half_precision_is_refused_where_it_cannot_hold_the_values(sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--fp16"):
        export(sparse, "transformers", tmp_path / "out", fp16=True)
    state = read(sparse)
    name = next(name for name in state["model"] if name.endswith("fc1.weight"))
    state["model"][name][0, 0] = 1e5
    torch.save(state, tmp_path / "large.pt")
    with pytest.raises(CheckpointError, match=r"fc1\.weight has 1e\+05, fp16 ends at 65504"):
        export(tmp_path / "large.pt", "compact", tmp_path / "out", fp16=True)
    assert not (tmp_path / "out").exists()


def test_a_compact_pretrained_file_is_finetuned_bit_for_bit_as_the_original(
    commands: tiny.Commands, data: Path, tmp_path: Path
) -> None:
    state = torch.load(tiny.make_pretrained(tmp_path / "pretrained.pt"), weights_only=True)
    for name, value in state["model"].items():
        if "fc1.weight" in name:
            value.view(-1)[::2] = 0
    torch.save(state, tmp_path / "pretrained.pt")
    export(tmp_path / "pretrained.pt", "compact", tmp_path / "out")
    found = []
    for name, file in (("a", tmp_path / "pretrained.pt"), ("b", tmp_path / "out" / "model.safetensors")):
        (tmp_path / name).mkdir()
        commands.train(tmp_path / name, tiny.training(tmp_path / name, data, file, "optimization.max_update=2"))
        found.append(read(tmp_path / name / "checkpoint_last.pt")["model"])
    assert all(found[0][name].equal(value) for name, value in found[1].items())
