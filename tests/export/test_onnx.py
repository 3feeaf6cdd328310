"""The graph in ONNX Runtime: the checkpoint's own numbers, whatever else is in the batch."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers_models import models, save

from fairseq_parp.checkpoints import read
from fairseq_parp.errors import ExportError, MissingToolError
from fairseq_parp.export import to_onnx
from fairseq_parp.export.audio import batch
from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.source import Source
from fairseq_parp.transcription.audio import read_audio
from fairseq_parp.transcription.transcriber import Transcriber


def run(folder: Path, utterances: Sequence[Tensor]) -> Tensor:
    """Run the graph on utterances as recorded."""
    audio = torch.nn.utils.rnn.pad_sequence(list(utterances), batch_first=True)
    lengths = torch.tensor([len(each) for each in utterances])
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return torch.from_numpy(session.run(None, {"input_values": audio.numpy(), "input_lengths": lengths.numpy()})[0])


def quiet(*samples: int) -> list[Tensor]:
    """Return utterances that a model with normalisation hears otherwise than one without."""
    torch.manual_seed(5)
    return [0.05 * torch.randn(count) + 0.01 for count in samples]


def text(folder: Path, log_probs: Tensor) -> str:
    """Decode greedily by ``vocab.txt`` as its readers do: U+2581 is a space, a symbol's repetitions are one."""
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    symbols = {int(index): symbol for symbol, index in (line.split(" ") for line in lines)}
    (blank,) = (index for index, symbol in symbols.items() if symbol == "<blk>")
    path = [index for index, _ in itertools.groupby(log_probs.argmax(-1).tolist()) if index != blank]
    return " ".join("".join(symbols[index] for index in path).replace("\u2581", " ").split())


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", list(models()))
def test_each_utterance_has_its_own_numbers_in_any_batch(shape: str, normalize: bool, tmp_path: Path) -> None:
    save(tmp_path / "theirs", shape, "ForCTC")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt", normalize=normalize)
    done = export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    assert len(done.differences) == 2
    utterances = quiet(6000, 4500, 1700)
    padded = run(tmp_path / "out", utterances)
    source = Source.open(tmp_path / "ours.pt")
    for row, each in zip(padded, utterances, strict=True):
        alone = run(tmp_path / "out", [each])[0]
        ours = source.outputs(batch([each], normalize).audio, None).log_softmax(-1)[0]
        assert (alone - ours).abs().max() < 1e-4
        assert (row[: len(alone)] - alone).abs().max() < 1e-4
        behind = row[len(alone) :]
        assert behind.exp().equal(torch.eye(row.size(1))[:1].expand_as(behind)), "not the blank alone"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == {"model_type": "wav2vec2-ctc", "subsampling_factor": 80}


@pytest.mark.parametrize("shape", ["base", "data2vec"])
def test_features_of_an_encoder(shape: str, tmp_path: Path) -> None:
    save(tmp_path / "theirs", shape, "Model")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    (utterance,) = quiet(4000)
    ours = Source.open(tmp_path / "ours.pt").outputs(batch([utterance], True).audio, None)
    assert (run(tmp_path / "out", [utterance]) - ours).abs().max() < 1e-4
    assert not (tmp_path / "out" / "vocab.txt").exists()


def test_the_texts_are_those_of_transcribe(finetuned: Path, data: Path, tmp_path: Path) -> None:
    state = read(finetuned / "checkpoint_last.pt")
    torch.manual_seed(1)
    head = state["model"]["w2v_encoder.proj.weight"]
    head.add_(torch.randn(head.shape))  # so short a training gives blanks alone
    state["model"]["w2v_encoder.proj.bias"][1:4] = -100  # symbols that no text has
    torch.save(state, tmp_path / "checkpoint.pt")
    export(tmp_path / "checkpoint.pt", "onnx", tmp_path / "out")
    transcriber = Transcriber(tmp_path / "checkpoint.pt")
    files = sorted(data.glob("*.flac"))
    texts = [transcriber(file) for file in files]
    assert len(set(texts)) > 1
    log_probs = run(tmp_path / "out", [read_audio(file, 16000, normalize=False) for file in files])
    assert [text(tmp_path / "out", each) for each in log_probs] == [" ".join(each.split()) for each in texts]


def test_every_tensor_has_its_name_and_its_zeros(tmp_path: Path) -> None:
    """The exporter by itself would store equal tensors once."""
    save(tmp_path / "theirs", "base", "ForCTC")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    maps = [name for name in tensors if "encoder.layers" in name and "norm" not in name]
    for name in maps:
        tensors[name].view(-1)[::2] = 0
        if name.endswith("bias"):
            tensors[name].zero_()
    save_file(tensors, tmp_path / "theirs" / "model.safetensors", {"format": "pt"})
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    source = Source.open(tmp_path / "ours.pt")
    held = to_onnx.stored(source, tmp_path / "out")
    absent = {"mask_emb", "encoder.pos_conv.0.weight_g", "encoder.pos_conv.0.weight_v"}
    assert {name.removeprefix("w2v_encoder.w2v_model.") for name in set(source.tensors) - set(held)} == absent
    assert all(value.equal(source.tensors[name]) for name, value in held.items())


def test_phones_are_read_with_spaces_between_them(tmp_path: Path) -> None:
    save(tmp_path / "theirs", "base", "ForCTC")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "tʃ": 4, "a": 5, "ɛ": 6, "oː": 7}
    (tmp_path / "theirs" / "vocab.json").write_text(json.dumps(vocabulary))
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    best = torch.nn.functional.one_hot(torch.tensor([4, 4, 0, 5, 0, 7]), 8)
    assert text(tmp_path / "out", best) == "tʃ a oː"


@pytest.mark.parametrize("symbol", ["A\u3000B", "<blk>", "\u2581"])
def test_symbols_that_the_layout_cannot_hold(symbol: str, tmp_path: Path) -> None:
    save(tmp_path / "theirs", "base", "ForCTC")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    state = torch.load(tmp_path / "ours.pt", weights_only=False)
    dictionary = state["task_state"]["target_dictionary"]  # fairseq's files of symbols end each at an ASCII space
    dictionary.indices[symbol] = dictionary.indices.pop("A")
    dictionary.symbols[dictionary.index(symbol)] = symbol
    torch.save(state, tmp_path / "ours.pt")
    with pytest.raises(ExportError, match=r"vocab\.txt cannot hold the symbol"):
        export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_too_large_and_a_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "theirs", "base", "ForCTC")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    before = sorted(tmp_path.iterdir())
    with monkeypatch.context() as smaller:
        smaller.setattr(to_onnx, "MAX_BYTES", 1000)
        with pytest.raises(ExportError, match="an ONNX file holds less than 2 GiB"):
            export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match=r"^onnxruntime is not installed: pip install 'fairseq_parp\[onnx\]'"):
        export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "theirs", "base", "ForCTC")
    import_folder(tmp_path / "theirs", tmp_path / "ours.pt")
    computed = to_onnx._normalised

    def wrong(values: Tensor, own: Tensor, epsilon: float) -> Any:
        return computed(values, torch.ones_like(own), epsilon)

    monkeypatch.setattr(to_onnx, "_normalised", wrong)
    with pytest.raises(ExportError, match="padded batch of 3: outputs differ by"):
        export(tmp_path / "ours.pt", "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
