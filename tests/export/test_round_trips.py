"""Models of transformers become fairseq checkpoints and come back; the real libraries compute both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from fairseq_parp.checkpoints import read
from fairseq_parp.errors import ExportError
from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.source import Source

SHAPES: dict[str, dict[str, Any]] = {
    "base": {"feat_extract_norm": "group", "do_stable_layer_norm": False},
    "xlsr": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "projection_is_identity": {"feat_extract_norm": "group", "conv_dim": [16, 16, 32]},
}
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "conv_dim": [16, 16, 16], "conv_kernel": [10, 3, 2], "conv_stride": [5, 4, 4], "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 8, "pad_token_id": 0,
}  # fmt: skip
VOCABULARY = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7}


def models() -> dict[str, Any]:
    """Return config and class prefix by the name of the shape."""
    found = {name: ("Wav2Vec2", SMALL | keys) for name, keys in SHAPES.items()}
    found["hubert"] = ("Hubert", SMALL)
    data2vec = SMALL | {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}
    return found | {"data2vec": ("Data2VecAudio", data2vec)}


def save(folder: Path, shape: str, kind: str) -> Any:
    """Save a random model of transformers; norms and biases are no ones and zeros, which would hide swapped ones."""
    prefix, keys = models()[shape]
    torch.manual_seed(3)
    model = getattr(transformers, prefix + kind)(getattr(transformers, prefix + "Config")(**keys)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        if shape == "projection_is_identity":
            projection = getattr(model, model.base_model_prefix, model).feature_projection.projection
            projection.weight.copy_(torch.eye(32))
            projection.bias.zero_()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    if kind == "ForCTC":
        (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    return model


@pytest.mark.parametrize("shape", list(models()))
def test_a_recogniser_computes_the_same_in_fairseq_and_after_its_return(shape: str, tmp_path: Path) -> None:
    model = save(tmp_path / "theirs", shape, "ForCTC")
    assert import_folder(tmp_path / "theirs", tmp_path / "ours.pt").symbols == len(VOCABULARY)
    audio = torch.nn.functional.layer_norm(torch.randn(1, 6000), (6000,))
    with torch.no_grad():
        theirs = model(audio).logits
    ours = Source.open(tmp_path / "ours.pt").outputs(audio, None)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 2e-5 * max(1.0, theirs.abs().max())
    done = export(tmp_path / "ours.pt", "transformers", tmp_path / "back")
    assert len(done.differences) == (1 if shape == "hubert" else 2)
    again = type(model).from_pretrained(tmp_path / "back")
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].equal(value), name


@pytest.mark.parametrize("shape", list(models()))
def test_an_encoder_computes_the_same_in_fairseq_and_after_its_return(shape: str, tmp_path: Path) -> None:
    model = save(tmp_path / "theirs", shape, "Model")
    assert import_folder(tmp_path / "theirs", tmp_path / "ours.pt").symbols == 0
    export(tmp_path / "ours.pt", "transformers", tmp_path / "back")
    again = type(model).from_pretrained(tmp_path / "back")
    for name, value in model.state_dict().items():
        assert again.state_dict()[name].equal(value), name


def test_rows_of_the_head_follow_their_symbols(tmp_path: Path) -> None:
    model = save(tmp_path / "theirs", "base", "ForCTC")
    order = ["A", "|", "B", "[PAD]", "C", "[UNK]", "D", "E"]
    (tmp_path / "theirs" / "vocab.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(order)}))
    config = json.loads((tmp_path / "theirs" / "config.json").read_text()) | {"pad_token_id": 3}
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    state = read(tmp_path / "ours.pt")
    symbols = state["task_state"]["target_dictionary"].symbols
    assert symbols == ["<s>", "<pad>", "</s>", "<unk>", "A", "|", "B", "C", "D", "E"]
    head = state["model"]["w2v_encoder.proj.weight"]
    for ours, theirs in (("<s>", "[PAD]"), ("<unk>", "[UNK]"), ("|", "|"), ("E", "E")):
        assert head[symbols.index(ours)].equal(model.lm_head.weight[order.index(theirs)])
    assert state["model"]["w2v_encoder.proj.bias"][1] == -1e4


@pytest.mark.parametrize("shape", ["base", "xlsr", "data2vec", "hubert"])
def test_stock_fairseq_loads_what_it_can_and_refuses_by_name(shape: str, tmp_path: Path) -> None:
    """A process without this plugin; stock ``hubert_ctc`` cannot be built at all, by a fault of its own."""
    save(tmp_path / "theirs", shape, "ForCTC")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    if shape in ("base", "xlsr"):
        assert len(export(tmp_path / "ours.pt", "fairseq", tmp_path / "out").differences) == 2
        assert (tmp_path / "out" / "dict.ltr.txt").read_text() == "| 1\nA 1\nB 1\nC 1\n"
    else:
        with pytest.raises(ExportError, match="stock fairseq cannot load the export"):
            export(tmp_path / "ours.pt", "fairseq", tmp_path / "out")
        assert not (tmp_path / "out").exists()
