"""``fairseq-parp verify``: what it finds in a file of each family, and the step that fails."""

from __future__ import annotations

from pathlib import Path

import encoders
import pytest
import tiny
import torch

from fairseq_parp.cli import main

BASE = {
    "conv_feature_layers": "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2", "encoder_layers": 12,
    "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072, "encoder_attention_heads": 12, "final_dim": 256,
    "conv_pos": 128, "conv_pos_groups": 16,
}  # fmt: skip


def steps(out: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in out.splitlines())


@pytest.mark.parametrize("name", encoders.CTC)
def test_each_step_succeeds(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pretrained.pt"
    tiny.make_pretrained(file) if name == "wav2vec2" else encoders.make(name, file)
    assert main(["verify", str(file)]) == 0, capsys.readouterr().err
    found = steps(capsys.readouterr().out)
    assert list(found) == ["file", "family", "release", "weights", "update", "forward"]
    assert found["family"] == f"{name}, 3 layers x 32; trained by model._name={encoders.CTC[name]}"
    assert found["weights"].startswith("25,248 prunable")
    assert "12,624 zeros, exactly 0.5" in found["update"]
    assert "99 finite frames of 2 s" in found["forward"]


def test_conformer_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny.make_pretrained(tmp_path / "pretrained.pt", {"layer_type": "conformer", "attn_type": "espnet"})
    assert main(["verify", str(file)]) == 0, capsys.readouterr().err
    found = steps(capsys.readouterr().out)
    assert found["weights"].startswith("37,824 prunable")
    assert "18,912 zeros, exactly 0.5" in found["update"]


def test_a_file_of_any_name_with_many_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """hydra reads the name as a part of an override; the zeros that get no gradient are no fault."""
    state = torch.load(tiny.make_pretrained(tmp_path / "pretrained.pt"), weights_only=False)
    for name, weight in state["model"].items():
        if name.startswith("encoder.layers"):
            weight *= torch.rand(weight.shape) < 0.1
    torch.save(state, tmp_path / "it's my file (1), v=2 [é].pt")
    assert main(["verify", str(tmp_path / "it's my file (1), v=2 [é].pt")]) == 0, capsys.readouterr().err
    assert "12,624 were asked" in (out := capsys.readouterr().out) or "zeros, exactly 0.5" in out


def test_a_file_with_other_weights_than_its_config_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = encoders.make("hubert", tmp_path / "pretrained.pt")
    state = torch.load(file, weights_only=False)
    state["cfg"]["model"]["encoder_layers"] = 4
    torch.save(state, file)
    assert main(["verify", str(file)]) == 2
    assert "has 25,248 prunable weights; the shape that its config states has 33,664" in capsys.readouterr().err


def test_a_finetuned_file(finetuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finetuned / "checkpoint_last.pt")]) == 2
    assert "is finetuned already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", encoders.BESIDE_WAV2VEC2)
def test_base_size(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = encoders.make(name, tmp_path / "base.pt", **BASE)
    assert main(["verify", str(file)]) == 0, capsys.readouterr().err
    found = steps(capsys.readouterr().out)
    assert found["weights"].startswith("85,017,600 prunable")
    assert "42,508,800 zeros, exactly 0.5" in found["update"]
