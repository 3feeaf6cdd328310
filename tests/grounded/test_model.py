"""The grounded model beside stock wav2vec 2.0, with the parts that alpha leaves out, and under layerdrop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import tiny
import torch
from omegaconf import OmegaConf

from fairseq_parp.decoding.alone import each_alone
from fairseq_parp.errors import CheckpointError, ConfigError, OneLineExit
from fairseq_parp.plugin import load_plugin
from fairseq_parp.sparsity.scope import find_parameters


def build(**keys: Any) -> Any:
    load_plugin()
    from fairseq.models import ARCH_CONFIG_REGISTRY, MODEL_DATACLASS_REGISTRY, MODEL_REGISTRY  # noqa: F401

    config = OmegaConf.structured(MODEL_DATACLASS_REGISTRY["grounded_wav2vec2"])
    shape = {"alpha": 0.5, "image_width": small.WIDTH, "image_boxes": True}
    return MODEL_REGISTRY["grounded_wav2vec2"].build_model(OmegaConf.merge(config, small.MODEL | shape | keys))


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    padding = torch.arange(9000) >= torch.tensor([[9000], [7000], [8000]])
    return {
        "source": torch.randn(3, 9000).masked_fill(padding, 0), "padding_mask": padding,
        "images": torch.randn(3, small.REGIONS, small.WIDTH), "boxes": torch.rand(3, small.REGIONS, 4),
    }  # fmt: skip


@pytest.mark.parametrize("layer_norm_first", [True, False])
def test_without_a_class_vector_every_output_is_stock_fairseqs(layer_norm_first: bool) -> None:
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model

    ours = build(cls_token=False, layer_norm_first=layer_norm_first).eval()
    keys = {name: value for name, value in tiny.MODEL.items() if name != "_name"}
    stock = Wav2Vec2Model(
        OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), keys, {"layer_norm_first": layer_norm_first})
    ).eval()
    stock.load_state_dict({name: value for name, value in ours.state_dict().items() if not name.startswith("grounded")})
    given = {key: batch()[key] for key in ("source", "padding_mask")}
    for layer in (None, 0, 1):
        found = [model(**given, mask=False, features_only=True, layer=layer) for model in (ours, stock)]
        assert torch.equal(found[0]["x"], found[1]["x"])
        for mine, theirs in zip(found[0]["layer_results"], found[1]["layer_results"], strict=True):
            assert torch.equal(mine[0], theirs[0])
    ours(**batch(), mask=False, features_only=True)
    ours.embed_captions(**given)
    tapped = stock(**given, mask=False, features_only=True, layer=1)["x"]
    ours(**given, mask=False, features_only=True)
    assert torch.equal(ours.encoder.take_tapped()[0], tapped)


def test_alpha_builds_what_it_needs_alone() -> None:
    joint, visual, speech = (build(alpha=alpha) for alpha in (0.5, 1, 0))
    names = [{name for name, _ in model.named_parameters()} for model in (joint, visual, speech)]
    assert names[1] < names[0]
    assert names[2] < names[0]
    assert {name.split(".")[0] for name in names[0] - names[1]} == {"quantizer", "project_q", "final_proj", "encoder"}
    assert {name for name in names[0] - names[1] if name.startswith("encoder")} == {
        name for name in names[0] if name.startswith("encoder.layers.2")
    }
    assert {name.split(".")[0] for name in names[0] - names[2]} == {"grounded", "encoder"}
    assert "x" not in {key for key in visual(**batch()) if key == "num_vars"}


@pytest.mark.parametrize("alpha", [0.5, 1])
def test_layerdrop_never_leaves_the_tapped_layer_out(alpha: float) -> None:
    model = build(alpha=alpha, encoder_layerdrop=0.999).train()
    ran: list[int] = []
    for index, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    np.random.seed(1)
    for _ in range(3):
        model(**batch())["caption"].sum().backward()
    assert set(ran) == {1}


def test_what_is_beyond_an_utterance_changes_no_embedding() -> None:
    model = build(alpha=1, extractor_mode="layer_norm").eval()
    given = batch()
    together = model.embed_captions(given["source"], given["padding_mask"])
    alone = model.embed_captions(given["source"][1:2, :7000])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", [True, False])
def test_in_a_batch_each_utterance_can_have_the_embedding_that_it_has_alone(cls: bool) -> None:
    model = build(cls_token=cls).eval()
    given = {key: batch()[key] for key in ("source", "padding_mask")}
    with each_alone(model, given):
        together = model.embed_captions(**given)
    for row, length in enumerate((9000, 7000, 8000)):
        alone = model.embed_captions(given["source"][row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_the_scope_of_parp_has_the_encoders_layers_alone_and_an_expression_takes_more() -> None:
    model = build()
    assert not [name for name in find_parameters(model) if "grounded" in name]
    assert len(find_parameters(model)) == 3 * 12
    named = find_parameters(model, r"grounded\.image\..*linear1\.weight")
    assert list(named) == ["grounded.image.blocks.0.linear1.weight"]


def test_a_plain_checkpoint_loads_into_it_and_another_one_does_not(tmp_path: Path) -> None:
    plain = tiny.make_pretrained(tmp_path / "plain.pt")
    saved = torch.load(plain, weights_only=False)["model"]
    for alpha in (0.5, 1.0):
        own = build(alpha=alpha, w2v_path=str(plain)).state_dict()
        assert all(torch.equal(own[name], saved[name]) for name in own if name in saved)
        assert [name for name in own if name.startswith("encoder.layers.1")]
    wider = tiny.make_pretrained(tmp_path / "wider.pt", {"encoder_ffn_embed_dim": 96})
    lower = tiny.make_pretrained(tmp_path / "lower.pt", {"encoder_layers": 1})
    for path, reason in ((wider, "another shape or branch"), (lower, "lacks encoder.layers.1")):
        with pytest.raises(OneLineExit) as stopped:
            build(w2v_path=str(path))
        assert isinstance(stopped.value.error, CheckpointError)
        assert reason in str(stopped.value.error)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"alpha": 1.5}, "criterion.alpha=1.5"), ({"shared_layers": 4}, "model.shared_layers=4"),
        ({"audio_head": "large"}, "model.audio_head='large'"), ({"similarity": "dot"}, "model.similarity='dot'"),
        ({"grounded_heads": 3}, "model.grounded_heads=3"), ({"grounded_heads": 0}, "model.grounded_heads=0"),
        ({"temperature": 0.0}, "model.temperature=0.0: must be a number above 0"),
        ({"temperature": float("nan")}, "model.temperature=nan"), ({"embedding": 0}, "model.embedding=0"),
        ({"grounded_dropout": 1.0}, "model.grounded_dropout=1.0"), ({"image_layers": 0}, "model.image_layers=0"),
        ({"codes": 4, "code_temperature": float("inf")}, "model.code_temperature=inf"),
    ],
)  # fmt: skip
def test_a_key_that_is_wrong_is_named(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(OneLineExit) as stopped:
        build(**keys)
    assert isinstance(stopped.value.error, ConfigError)
    assert named in str(stopped.value)
