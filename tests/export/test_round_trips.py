"""Models of transformers become fairseq checkpoints and come back; the real libraries compute both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers_models import VOCABULARY, models, save

from fairseq_parp.checkpoints import read
from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.source import Source


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


@pytest.mark.parametrize(("shape", "kind"), [("xlsr", "ForCTC"), ("hubert", "Model")])
def test_stock_fairseq_loads_what_was_imported(shape: str, kind: str, tmp_path: Path) -> None:
    """A process without this plugin. HuBERT becomes wav2vec 2.0, whose class has no place for its frames' count."""
    save(tmp_path / "theirs", shape, kind)
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    done = export(tmp_path / "ours.pt", "fairseq", tmp_path / "out")
    assert len(done.differences) == (1 if shape == "hubert" else 2)
    written, ours = (read(tmp_path / file) for file in ("out/model.pt", "ours.pt"))
    assert all(written["model"][name].equal(value) for name, value in ours["model"].items())
    if kind == "ForCTC":
        assert (tmp_path / "out" / "dict.ltr.txt").read_text() == "| 1\nA 1\nB 1\nC 1\n"
