"""The real thing at its real size: wav2vec 2.0 base, random weights, trained, saved, reloaded, decoded."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from fairseq_parp.mask_files.report import report

# fairseq's own defaults are the released base model's config; what is not a default is named here.
BASE = {
    "quantize_targets": True, "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
    "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072, "encoder_attention_heads": 12,
    "final_dim": 256, "latent_vars": 320, "conv_pos": 128, "conv_pos_groups": 16,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("old_style", [False, True], ids=["cfg", "args"])
def test_base_size(commands: tiny.Commands, tmp_path: Path, old_style: bool) -> None:
    data = tiny.make_corpus(tmp_path / "data", {"train": 6, "valid": 2, "test": 5}, (2.0, 4.0))
    pretrained = tiny.make_pretrained(tmp_path / "base.pt", BASE, old_style=old_style)
    keys = ["optimization.max_update=3", "task.pruning.interval=2", "optimization.update_freq=[1]"]
    commands.train(tmp_path, tiny.training(tmp_path / "run", data, pretrained, *keys))
    counted = report(tmp_path / "run" / "checkpoint_last.pt").prunable
    assert (counted.size, counted.zeros) == (85_017_600, 42_508_800)
    commands.generate(data, tmp_path / "run" / "checkpoint_last.pt", tmp_path)
    assert (tmp_path / "generate-test.txt").read_text().count("\nH-") == 5
