"""Encoders of fairseq on a padded batch against the same encoders on each utterance alone."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.decoding import alone
from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import AudioError

SMALL = {
    "conv_feature_layers": "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 2,
    "conv_pos": 16,
    "conv_pos_groups": 2,
}
SAMPLES = [9_000, 16_000, 400, 9_000, 15_700, 2_345]


class Encoder(nn.Module):
    """An encoder of fairseq, with the output of a CTC model."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor, padding_mask: Tensor | None) -> dict[str, Any]:
        found = self.network.extract_features(source=source, padding_mask=padding_mask, mask=False)
        out, padding = (found["x"], found["padding_mask"]) if isinstance(found, dict) else found
        return {"encoder_out": out.transpose(0, 1), "padding_mask": padding}


def wav2vec(**keys: Any) -> Any:
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    return Wav2Vec2Model(Wav2Vec2Config(**SMALL, **keys))


def hubert(**keys: Any) -> Any:
    from fairseq.models.hubert.hubert import HubertConfig, HubertModel

    task = SimpleNamespace(sample_rate=16_000)
    return HubertModel(HubertConfig(**SMALL, label_rate=50.0, final_dim=16, **keys), task, [None])


KINDS = {
    "group norm": lambda: wav2vec(),
    "layer norm": lambda: wav2vec(extractor_mode="layer_norm", layer_norm_first=True, conv_bias=True),
    "stacked positional convolutions": lambda: wav2vec(extractor_mode="layer_norm", pos_conv_depth=3),
    "cropped to a multiple": lambda: wav2vec(crop_seq_to_multiple=3),
    "padded to a multiple": lambda: wav2vec(required_seq_len_multiple=8),
    "conformer layers": lambda: wav2vec(layer_type="conformer", attn_type="espnet"),
    "HuBERT": lambda: hubert(),
}


def waves(samples: list[int]) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(each) * torch.rand(1) for each in samples]


def encode(model: nn.Module, audio: list[Tensor], stock: bool = False, bucket: int = 0) -> list[Tensor]:
    """The output (T, C) of each utterance of a batch, which is padded by so many samples more than it needs."""
    source = nn.functional.pad(pad_sequence(audio, batch_first=True), (0, bucket))
    padding = torch.arange(source.size(1)) >= torch.tensor([len(each) for each in audio])[:, None]
    net_input = {"source": source, "padding_mask": padding}
    with torch.no_grad(), contextlib.nullcontext() if stock else each_alone(model, net_input):
        output = model(**net_input)
    out, padding = output["encoder_out"].transpose(0, 1), output["padding_mask"]
    frames = [out.size(1)] * len(audio) if padding is None else (~padding).sum(1).tolist()
    return [each[:length] for each, length in zip(out, frames, strict=True)]


def distance(some: list[Tensor], others: list[Tensor]) -> float:
    return max(
        float((one - other).abs().max()) if len(one) == len(other) else float("inf")
        for one, other in zip(some, others, strict=True)
    )


def model_of(kind: str) -> nn.Module:
    torch.manual_seed(1)
    model = Encoder(KINDS[kind]()).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # they begin at zero: a filled padding would not show
            nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_each_utterance_gets_the_output_that_it_has_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(kind)
    audio = [each for each in waves(SAMPLES) if len(each) >= shortest_input(model)]
    apart = [encode(model, [each])[0] for each in audio]
    assert distance(encode(model, audio), apart) < 1e-5
    assert distance(encode(model, audio, bucket=3_000), apart) < 1e-5
    monkeypatch.setattr(alone, "PIECE", 20_000)  # more pieces than one
    assert distance(encode(model, audio), apart) < 1e-5
    assert (distance(encode(model, audio, stock=True), apart) < 1e-5) == (kind == "layer norm")


@pytest.mark.parametrize("kind", ["group norm", "layer norm", "HuBERT"])
def test_an_utterance_alone_gets_what_stock_fairseq_gives_it(kind: str) -> None:
    model, (audio, *_) = model_of(kind), waves(SAMPLES)
    assert torch.equal(encode(model, [audio])[0], encode(model, [audio], stock=True)[0])
    assert torch.equal(encode(model, [audio, audio])[1], encode(model, [audio, audio], stock=True)[1])


def test_afterwards_the_model_is_as_before() -> None:
    model, audio = model_of("stacked positional convolutions"), waves(SAMPLES)
    before = encode(model, audio, stock=True)
    encode(model, audio)
    with pytest.raises(AudioError, match="too short: 399 samples give no encoder frame"):
        encode(model, [audio[0], audio[1][:399]])
    assert distance(encode(model, audio, stock=True), before) == 0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type_and_its_frames(dtype: torch.dtype) -> None:
    audio = [each.to(dtype) for each in waves(SAMPLES)]
    model = model_of("group norm")
    whole = encode(model, [each.float() for each in audio])
    half = encode(model.to(dtype), audio)
    assert {each.dtype for each in half} == {dtype}
    assert distance([each.float() for each in half], whole) < 0.3


def test_another_kind_of_model_runs_as_it_is() -> None:
    with each_alone(nn.Linear(2, 2), {"source": torch.zeros(1, 2)}):
        assert nn.Linear(2, 3)(torch.zeros(1, 2)).shape == (1, 3)
