"""The model card: where the model comes from, how good it is, what was zeroed, and what to cite."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from fairseq_parp.checkpoints import read
from fairseq_parp.cli import main
from fairseq_parp.errors import ParpError
from fairseq_parp.export.exporting import export
from fairseq_parp.export.papers import PAPERS
from fairseq_parp.files import sha256
from fairseq_parp.sparsity import METHODS

RESULTS = "T-0\tONE TWO\nH-0\t-0.5\tONE TWX\nP-0\t" + " ".join(["-0.1"] * 8) + "\n"


def test_a_card_states_data_base_rates_versions_sparsity_and_papers(
    finetuned: Path, data: Path, pretrained: Path, tmp_path: Path
) -> None:
    (tmp_path / "generate-test.txt").write_text(RESULTS)
    checkpoint = str(finetuned / "checkpoint_best.pt")
    command = ["export", checkpoint, "--to", "compact", "-o", str(tmp_path / "out")]
    assert main([*command, "--results", str(tmp_path / "generate-test.txt")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    state = read(checkpoint)
    metric = state["cfg"]["checkpoint"]["best_checkpoint_metric"]
    for words in (
        f"- Data: folder `{data.name}`, trained on `train`, validated on `valid`.",
        f"- Updates: {state['optimizer_history'][-1]['num_updates']}.",
        f"- Base: `{pretrained.name}`, SHA-256 {sha256(pretrained)}.",
        f"- Best `{metric}` of a validation: {state['extra_state']['best']:.4g}.",
        "- `generate-test.txt`: UER 12.50 %, WER 50.00 %, 1 utterances (`fairseq-parp score generate-test.txt`).",
        f"torch {torch.__version__}, Python ",
        "method parp, sparsity 0.5",
        "arXiv:2106.05933",
        "arXiv:2006.11477",
        "Zeros are not stored. They make the model no faster",
    ):
        assert words in card, words
    rows = re.findall(r"^\| .+ \| \d+ of \d+ \| 0\.\d{4} \|$", card, re.MULTILINE)
    assert len(rows) >= 2, "not by layer"
    assert "not stated" not in card


def test_a_card_states_what_is_not_known(finetuned: Path, pretrained: Path, tmp_path: Path) -> None:
    state = read(finetuned / "checkpoint_best.pt")
    state["cfg"]["model"]["w2v_path"] = str(tmp_path / "moved.pt")
    torch.save(state, tmp_path / "checkpoint.pt")
    export(tmp_path / "checkpoint.pt", "compact", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- Base: `moved.pt`; the file was missing at the export, so its checksum is not known." in card
    assert "- UER and WER: not stated at the export (`--results FILE` of fairseq-generate)." in card
    shutil.rmtree(tmp_path / "out")
    export(pretrained, "compact", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Base:" not in card
    assert "UER" not in card


def test_results_that_are_none_are_refused_and_nothing_is_written(finetuned: Path, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("no results\n")
    for name in ("other.txt", "none.txt"):
        with pytest.raises(ParpError, match=name):
            export(finetuned / "checkpoint_best.pt", "compact", tmp_path / "out", results=[tmp_path / name])
    assert [each.name for each in tmp_path.iterdir()] == ["other.txt"]


def test_every_method_that_prunes_has_a_paper() -> None:
    assert set(METHODS) - {"dense"} <= set(PAPERS)
