"""From grounded training to PARP: the exported encoder is finetuned and pruned by the real commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch

from fairseq_parp import checkpoints, cli
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.counting import zero_count

OWN = "w2v_encoder.w2v_model."


@pytest.mark.parametrize("alpha", [0.5, 1])
def test_an_exported_encoder_is_finetuned_from_the_grounded_weights_and_pruned(
    alpha: float, commands: tiny.Commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grounded.yaml").write_text(small.recipe(tmp_path))
    data, last = tmp_path / "data", tmp_path / "grounded" / "checkpoint_last.pt"
    arguments = [
        "--config-dir", str(tmp_path), "--config-name", "grounded", f"common.user_dir={tiny.PLUGIN}",
        f"checkpoint.save_dir={last.parent}", f"criterion.alpha={alpha}", "optimization.max_update=3",
        "task.pruning.method=dense",
    ]  # fmt: skip
    commands.train(tmp_path, arguments)
    capsys.readouterr()
    assert cli.main(["transcribe", str(last), str(next(data.glob("*.flac")))]) == 2
    assert "holds grounded_wav2vec2, which was not finetuned on labels" in capsys.readouterr().err
    assert cli.main(["export", str(last), "--to", "fairseq", "-o", str(tmp_path / "plain")]) == 0
    plain = tmp_path / "plain" / "model.pt"
    before: dict[str, Any] = checkpoints.read(last)["model"]
    shared = [name for name in before if name.startswith(("encoder.layers", "feature_extractor", "post_extract_proj"))]
    assert {name.split(".")[2] for name in shared if name.startswith("encoder.layers")} >= {"0", "1"}
    keys = ["task.normalize=true", "optimization.max_update=3", "task.pruning.interval=2"]
    still = ["task.pruning.method=dense", "optimization.lr=[0.0]"]
    for name, more in (("still", still), ("parp", [])):
        commands.train(tmp_path, tiny.training(tmp_path / name, data, plain, *keys, *more))
    same = checkpoints.read(tmp_path / "still" / "checkpoint_last.pt")["model"]
    assert [name for name in shared if not torch.equal(same[OWN + name], before[name])] == []
    counted = report(tmp_path / "parp" / "checkpoint_last.pt").prunable
    assert counted.zeros == zero_count(0.5, counted.size)
    pruned = checkpoints.read(tmp_path / "parp" / "checkpoint_last.pt")["model"]
    assert {name for name in pruned if "grounded" in name or name.endswith("encoder.cls")} == set()
