"""Exports at the size of wav2vec 2.0 base, HuBERT base and data2vec audio base; half the prunable weights are zero."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from transformers_models import VOCABULARY

from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.targets import TARGETS

SHAPE = {
    "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "vocab_size": len(VOCABULARY), "pad_token_id": 0, "num_conv_pos_embedding_groups": 16,
}  # fmt: skip
GROUP_NORM = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "num_conv_pos_embeddings": 128}
FAMILIES = {
    "Wav2Vec2": SHAPE | GROUP_NORM,
    "Hubert": SHAPE | GROUP_NORM,
    "Data2VecAudio": SHAPE | {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19},
}
LINEAR_WEIGHTS = 12 * (4 * 768 * 768 + 2 * 768 * 3072)


def base(family: str, folder: Path) -> Path:
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(**FAMILIES[family])
    model = getattr(transformers, f"{family}ForCTC")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # norms and biases of ones and zeros would hide swapped ones
                parameter.add_(0.1 * torch.randn(parameter.shape))
            elif ".layers." in name and parameter.dim() == 2:
                parameter.masked_fill_(parameter.abs() <= parameter.abs().median(), 0)
    model.save_pretrained(folder / "theirs")
    (folder / "theirs" / "vocab.json").write_text(json.dumps(VOCABULARY))
    import_folder(folder / "theirs", folder / "base.pt", normalize=False)
    return folder / "base.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "target"),
    [*(("Wav2Vec2", target) for target in TARGETS), ("Hubert", "transformers"), ("Data2VecAudio", "transformers")],
)
def test_outputs_and_zeros_are_kept(family: str, target: str, tmp_path: Path) -> None:
    checkpoint = base(family, tmp_path)
    done = export(checkpoint, target, tmp_path / "out")
    print(family, target, dict(done.differences))
    assert len(done.differences) == (1 if family == "Hubert" else 2)
    assert done.zeros >= LINEAR_WEIGHTS // 2
    size = sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
    assert (size < 0.65 * checkpoint.stat().st_size) == (target == "compact")
