"""A compact checkpoint takes the place of the one that it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from fairseq_parp.checkpoints import read
from fairseq_parp.cli import main
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
