"""The modules within every known architecture, and against formulas, published counts and peft."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from families import MODELS, TINY, build
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from fairseq_parp.adapters import adapt, merged, read_adapters, set_trained
from fairseq_parp.adapters.insertion import put_lora
from fairseq_parp.adapters.layers import Adapter, Lora, LoraLinear
from fairseq_parp.errors import CheckpointError, ConfigError, ScopeError
from fairseq_parp.sparsity import find_parameters

pytestmark = pytest.mark.filterwarnings("ignore")

ENCODERS = {name: make for name, make in MODELS.items() if name != "data2vec2"}
ENCODERS["pre-norm"] = lambda: build(
    "fairseq.models.wav2vec.wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config", layer_norm_first=True, quantize_targets=True
)
ADDING = {
    "bottleneck": {"kind": "bottleneck", "width": 5},
    "lora": {"kind": "lora", "rank": 3, "maps": ["q", "k", "v", "out", "fc1", "fc2"]},
}


def output(model: nn.Module) -> Tensor:
    """The features of a fixed input, in evaluation mode."""
    model.eval()
    if hasattr(model, "embed_tokens"):
        return model(torch.tensor([[3, 4, 5, 6, 7]]))[0][-1]  # type: ignore[no-any-return]
    source = torch.randn(2, 800, generator=torch.Generator().manual_seed(1))
    found = model.extract_features(source, None, mask=False)  # type: ignore[operator]
    return found["x"] if isinstance(found, dict) else found[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("keys", ADDING.values(), ids=ADDING)
@pytest.mark.parametrize("name", ENCODERS)
def test_outputs_start_equal_to_the_last_bit_and_every_module_counts(name: str, keys: dict[str, Any]) -> None:
    model = ENCODERS[name]()
    before = output(model).detach()
    state = torch.random.get_rng_state()
    adapt(model, read_adapters(keys))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(output(model), before)
    output(model).square().sum().backward()
    small = {name: each for name, each in model.named_parameters() if ".adapter." in name or ".lora." in name}
    ups = [name for name in small if ".up" in name]
    assert len(ups) == (2 * 2 * 2 if keys["kind"] == "bottleneck" else 2 * 6)
    for each in ups:
        assert small[each].grad is not None
        # a constant shift of all keys changes no attention
        assert bool(small[each].grad.any()), each
    for each in small.keys() - set(ups):
        assert small[each].grad is None or not bool(small[each].grad.any())
    with torch.no_grad():
        for weight in (small[each] for each in ups):
            weight.normal_(0, 0.3)
            assert not torch.equal(output(model), before)
            assert torch.allclose(output(copy.deepcopy(model)), output(model))
            weight.zero_()


def test_golden_bottleneck() -> None:
    adapter = Adapter(2, 1)
    adapter.norm = nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 1.0]]))
        adapter.down.bias.fill_(0.5)
        adapter.up.weight.copy_(torch.tensor([[0.5], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.25, 0.0]))
    assert torch.allclose(adapter(torch.tensor([2.0, -1.0])), torch.tensor([2.949895, -2.399789]), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "count", "size", "percent"),
    [("all", 9_560_096, 103_894_944, 9.202), (6, 4_810_784, 99_145_632, 4.852)],
)
def test_the_published_counts(layers: Any, count: int, size: int, percent: float) -> None:
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    base = Wav2Vec2Model(OmegaConf.structured(Wav2Vec2Config()))
    base.remove_pretraining_modules()
    encoder = nn.ModuleDict({"w2v_model": base, "proj": nn.Linear(768, 32)})
    model = nn.ModuleDict({"w2v_encoder": encoder})
    keys = read_adapters({"kind": "bottleneck", "layers": layers})
    adapt(model, keys)
    trained = set_trained(model, keys)
    assert (trained.count, trained.size) == (count, size)
    assert round(100 * trained.count / trained.size, 3) == percent
    assert trained.kinds["norms"] == 36_864
    assert trained.kinds["head"] == 24_608


def test_lora_trains_as_peft_does_and_merges_to_the_sum_rounded_once() -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))
    ours, theirs = copy.deepcopy(plain), copy.deepcopy(plain)
    theirs = inject_adapter_in_model(LoraConfig(r=3, lora_alpha=12, target_modules=["0", "2"]), theirs)  # type: ignore[assignment]
    for index in ("0", "2"):
        lora = Lora(plain[int(index)].weight.shape, 3, 4.0)  # type: ignore[arg-type]
        with torch.no_grad():
            lora.down.copy_(theirs[int(index)].lora_A["default"].weight)  # type: ignore[index, union-attr]
        put_lora(ours[int(index)], lora)
    ours.requires_grad_(False)
    for name, each in ours.named_parameters():
        each.requires_grad_(".lora." in name)
    optimizers = [torch.optim.Adam([p for p in m.parameters() if p.requires_grad], 0.01) for m in (ours, theirs)]
    for _ in range(20):
        x = torch.randn(7, 6)
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert isinstance(ours[0], LoraLinear)
    tensors = ours.state_dict()
    found = merged("file", tensors)
    for index in ("0", "2"):
        delta = 4.0 * (tensors[f"{index}.lora.up"].double() @ tensors[f"{index}.lora.down"].double())
        assert torch.equal(found[f"{index}.weight"], (tensors[f"{index}.weight"].double() + delta).float())
    plain.load_state_dict(found, strict=True)
    assert torch.allclose(plain(x), ours(x), atol=2e-5)


def test_adapters_cannot_be_merged() -> None:
    model = ENCODERS["wav2vec2"]()
    adapt(model, read_adapters(ADDING["bottleneck"]))
    with pytest.raises(CheckpointError, match="cannot be merged"):
        merged("file.pt", model.state_dict())


@pytest.mark.parametrize("keys", ADDING.values(), ids=ADDING)
def test_a_scope_takes_adapter_weights_only_when_asked(keys: dict[str, Any]) -> None:
    model = ENCODERS["wav2vec2"]()
    expected = list(find_parameters(model))
    adapt(model, read_adapters(keys))
    assert list(find_parameters(model)) == expected
    with pytest.raises(ScopeError, match="unasked"):
        find_parameters(model, [".*fc2.*"])
    assert find_parameters(model, [r".*fc2\.(adapter|lora)\..*up.*"])


@pytest.mark.parametrize("lowest", [0, 1])
def test_activation_checkpoints_change_no_gradient(lowest: int) -> None:
    def gradients(checkpoints: bool) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = build(
            "fairseq.models.wav2vec.wav2vec2", "Wav2Vec2Model", "Wav2Vec2Config",
            checkpoint_activations=checkpoints, dropout=0.0, quantize_targets=True,
        )  # fmt: skip
        keys = read_adapters({"kind": "bottleneck", "width": 4, "layers": [lowest]})
        adapt(model, keys)
        set_trained(model, keys)
        output(model).square().sum().backward()
        return {name: each.grad for name, each in model.named_parameters() if each.requires_grad}  # type: ignore[misc]

    plain, checkpointed = gradients(False), gradients(True)
    assert any(bool(each.any()) for each in plain.values() if each is not None)
    for name, each in plain.items():
        assert (each is None and checkpointed[name] is None) or torch.equal(each, checkpointed[name]), name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "botleneck"}, r"task\.adapters\.kind='botleneck': must be one of"),
        ({"kind": "bottleneck", "width": 0}, r"task\.adapters\.width=0: must be a whole number"),
        ({"kind": "bottleneck", "width": 10**12}, r"task\.adapters\.width=1000000000000: must be .* 1 to 65,536"),
        ({"kind": "lora", "alpha": float("inf")}, r"task\.adapters\.alpha=inf: must be a number above 0"),
        ({"kind": "lora", "maps": [["q"]]}, r"task\.adapters\.maps=\(\['q'\],\): must be among"),
        ({"kind": "only", "train": [["head"]]}, r"task\.adapters\.train=\(\['head'\],\): must be among"),
        ({"kind": "bottleneck", "layers": 3}, r"task\.adapters\.layers=3: the model has 2 layers"),
        ({"kind": "bottleneck", "layers": [0, 2]}, r"task\.adapters\.layers=\[0, 2\]: the model has 2 layers, 0 to 1"),
        ({"kind": "lora", "rank": 17}, r"task\.adapters\.rank=17: is above 16, the greatest rank of .*q_proj"),
        ({"kind": "lora", "maps": ["qkv"]}, r"task\.adapters\.maps"),
        ({"kind": "lora", "width": 4}, r"task\.adapters\.width=4: is for bottleneck, not lora"),
        ({"kind": "lora", "rnk": 4}, r"task\.adapters\.rnk=4: no such key; did you mean rank\?"),
        ({"kind": "head_only"}, r"task\.adapters\.kind='head_only': nothing trains"),
        ("bottleneck", r"task\.adapters='bottleneck': must be a mapping"),
    ],
)
def test_bad_input(keys: Any, message: str) -> None:
    model = ENCODERS["wav2vec2"]()

    def start() -> None:
        config = read_adapters(keys)
        adapt(model, config)
        set_trained(model, config)

    with pytest.raises(ConfigError, match=message):
        start()


def test_tiny_is_what_the_messages_assume() -> None:
    assert (TINY["encoder_layers"], TINY["encoder_embed_dim"]) == (2, 16)
