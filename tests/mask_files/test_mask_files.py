"""Masks read from every kind of file, made, applied."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune

from fairseq_parp import checkpoints
from fairseq_parp.errors import CheckpointError, MaskError, ScopeError
from fairseq_parp.mask_files.applying import apply_mask
from fairseq_parp.mask_files.making import make_mask
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity import MaskSet, find_parameters
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.magnitude import magnitude_mask


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_pretrained(tmp_path_factory.mktemp("p") / "pretrained.pt")


def network() -> nn.Module:
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    keys = {key: value for key, value in tiny.MODEL.items() if key != "_name"}
    torch.manual_seed(5)
    return Wav2Vec2Model(OmegaConf.merge(OmegaConf.structured(Wav2Vec2Config), keys))  # type: ignore[no-any-return]


def modules(model: nn.Module) -> list[tuple[nn.Module, str]]:
    found = []
    for name in find_parameters(model):
        owner, _, part = name.rpartition(".")
        found.append((model.get_submodule(owner), part))
    return found


def pruned_by_torch(sparsity: float = 0.5) -> nn.Module:
    """Prune a tiny wav2vec 2.0 as the released PARP code does: torch's global L1 pruning, left reparametrised."""
    model = network()
    prune.global_unstructured(modules(model), pruning_method=prune.L1Unstructured, amount=sparsity)
    return model


def test_magnitude_is_torchs_global_l1_pruning(pretrained: Path) -> None:
    mask, theirs = make_mask(pretrained, 0.5), pruned_by_torch()
    weights = torch.cat([weight.detach().view(-1) for weight in find_parameters(network()).values()])
    # torch leaves open which of equal magnitudes go; here the zeros are biases, and there are fewer than k of them
    assert int((weights == 0).sum()) < mask.zeros() == zero_count(0.5, len(weights))
    for name in mask.bits:
        assert torch.equal(mask.kept(name), theirs.get_buffer(f"{name}_mask").bool()), name


@pytest.mark.parametrize("wrapped", ["bare state dict", "under 'model'", "masks alone"])
def test_what_torch_prune_left_is_read(pretrained: Path, tmp_path: Path, wrapped: str) -> None:
    state: dict[str, Any] = dict(pruned_by_torch().state_dict())
    assert "encoder.layers.0.self_attn.k_proj.weight_mask" in state
    if wrapped == "masks alone":
        state = {name: value for name, value in state.items() if name.endswith("_mask")}
    torch.save({"model": state, "args": Namespace()} if wrapped == "under 'model'" else state, tmp_path / "m.pt")
    assert read_mask(tmp_path / "m.pt").churn(make_mask(pretrained, 0.5)) == 0


def test_zeros_of_a_checkpoint_are_a_mask(pretrained: Path, tmp_path: Path) -> None:
    mask = make_mask(pretrained, 0.7)
    assert apply_mask(pretrained, mask, tmp_path / "sparse.pt") == mask.zeros()
    assert read_mask(tmp_path / "sparse.pt").churn(mask) == 0
    torch.save(dict(checkpoints.read(tmp_path / "sparse.pt")["model"]), tmp_path / "bare.pt")
    assert read_mask(tmp_path / "bare.pt").churn(mask) == 0


def test_a_mask_file_is_read_back_with_what_made_it(pretrained: Path, tmp_path: Path) -> None:
    mask = make_mask(pretrained, 0.5, "random", seed=4)
    mask.save(tmp_path / "m.safetensors", by="random")
    assert read_mask(tmp_path / "m.safetensors").churn(mask) == 0


def test_a_mask_file_whose_first_byte_is_a_pickles(tmp_path: Path) -> None:
    for length in range(40):
        mask = MaskSet.of_nonzero({"w": torch.ones(3)})
        mask.save(tmp_path / "m.safetensors", note="x" * 8 * length)
        start = (tmp_path / "m.safetensors").read_bytes()[:1]
        assert read_mask(tmp_path / "m.safetensors").churn(mask) == 0
        if start == b"\x80":
            return
    pytest.fail("no length gave that byte")


def test_random_init_is_the_magnitude_of_a_model_built_anew(pretrained: Path) -> None:
    mask = make_mask(pretrained, 0.5, "random-init", seed=5)
    expected = magnitude_mask({n: p.detach() for n, p in find_parameters(network()).items()}, 0.5)
    assert mask.churn(expected) == 0
    # the initialiser gives zero biases, and these go first
    assert all(mask.zeros(name) == mask.size(name) for name in mask.bits if name.endswith("bias"))
    assert make_mask(pretrained, 0.5, "random-init", seed=6).churn(mask) > 0


def test_random_init_of_an_old_style_checkpoint(tmp_path: Path) -> None:
    old = tiny.make_pretrained(tmp_path / "old.pt", old_style=True)
    expected = magnitude_mask({n: p.detach() for n, p in find_parameters(network()).items()}, 0.5)
    assert make_mask(old, 0.5, "random-init", seed=5).churn(expected) == 0


def test_random_init_leaves_torchs_randomness_alone(pretrained: Path) -> None:
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    make_mask(pretrained, 0.5, "random-init")
    assert torch.equal(torch.rand(3), expected)


def test_scope_and_allocation(pretrained: Path) -> None:
    mask = make_mask(pretrained, 0.25, scope=[r".*fc1\.weight"], allocation="tensor")
    assert set(mask.bits) == {f"encoder.layers.{layer}.fc1.weight" for layer in range(3)}
    assert {mask.zeros(name) for name in mask.bits} == {32 * 64 // 4}
    from fairseq_parp.mask_files.fresh import encoder_config, fresh_weights

    with pytest.raises(ScopeError, match="is not part of the pretrained encoder"):
        fresh_weights(encoder_config(checkpoints.read(pretrained)), ["proj.weight"], 1)


def test_apply_keeps_everything_else(pretrained: Path, tmp_path: Path) -> None:
    mask = make_mask(pretrained, 0.5, "random")
    apply_mask(pretrained, mask, tmp_path / "out.pt")
    before, after = checkpoints.read(pretrained), checkpoints.read(tmp_path / "out.pt")
    assert after["cfg"] == before["cfg"]
    for name, weight in before["model"].items():
        expected = weight.clone()
        if name in mask.bits:
            expected[~mask.kept(name)] = 0
        assert torch.equal(after["model"][name], expected), name


def tied_network() -> nn.Module:
    model = network()
    first, second, third = model.encoder.layers  # type: ignore[union-attr, misc]
    second.fc1.weight = first.fc1.weight
    third.fc1.weight = nn.Parameter(first.fc1.weight.data)  # another parameter on the same memory
    return model


def test_a_shared_tensor_counts_once_in_training_and_in_every_file(pretrained: Path, tmp_path: Path) -> None:
    model = tied_network()
    trained = find_parameters(model)
    size = sum(weight.numel() for weight in trained.values())
    assert size == sum(weight.numel() for weight in find_parameters(network()).values()) - 2 * 32 * 64
    state = torch.load(pretrained, weights_only=False)
    torch.save({**state, "model": model.state_dict()}, tmp_path / "tied.pt")
    mask = make_mask(tmp_path / "tied.pt", 0.5)
    assert list(mask.bits) == list(trained)
    assert mask.zeros() == zero_count(0.5, size)
    apply_mask(tmp_path / "tied.pt", mask, tmp_path / "sparse.pt")
    counted = report(tmp_path / "sparse.pt")
    assert (counted.prunable.zeros, counted.prunable.size) == (mask.zeros(), size)
    assert counted.model.size == sum(weight.numel() for weight in model.parameters()) - 32 * 64
    assert read_mask(tmp_path / "sparse.pt").churn(mask) == 0
    layers = checkpoints.read(tmp_path / "sparse.pt")["model"]
    for layer in (1, 2):  # whichever name a model loads last, its weights are sparse
        assert torch.equal(layers[f"encoder.layers.{layer}.fc1.weight"], layers["encoder.layers.0.fc1.weight"])


def test_copies_of_a_shared_tensor_are_tensors_of_their_own(pretrained: Path, tmp_path: Path) -> None:
    state = torch.load(pretrained, weights_only=False)
    copies = {name: tensor.clone() for name, tensor in tied_network().state_dict().items()}
    torch.save({**state, "model": copies}, tmp_path / "copies.pt")
    assert make_mask(tmp_path / "copies.pt", 0.5).size() == make_mask(pretrained, 0.5).size()


def test_the_mask_of_a_shared_parameter_that_torch_prune_left(tmp_path: Path) -> None:
    model = tied_network()
    layers = list(model.encoder.layers)  # type: ignore[union-attr, arg-type]
    prune.l1_unstructured(layers[0].fc1, "weight", amount=0.5)
    prune.l1_unstructured(layers[1].fc2, "weight", amount=0.5)
    layers[2].fc1 = layers[0].fc1
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    read = read_mask(tmp_path / "pruned.pt")
    assert set(read.bits) == {"encoder.layers.0.fc1.weight", "encoder.layers.1.fc2.weight"}
    assert read.sparsity == 0.5


def test_apply_never_overwrites_its_input(pretrained: Path, tmp_path: Path) -> None:
    content = pretrained.read_bytes()
    with pytest.raises(CheckpointError, match="is the checkpoint itself, which is not overwritten"):
        apply_mask(pretrained, make_mask(pretrained, 0.5), pretrained)
    with pytest.raises(MaskError, match="the mask is of another model"):
        apply_mask(pretrained, MaskSet.of_nonzero({"w": torch.ones(2)}), tmp_path / "out.pt")
    assert pretrained.read_bytes() == content
    assert not (tmp_path / "out.pt").exists()


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch owned",)


def bad(kind: str, path: Path) -> None:
    if kind == "runs code":
        torch.save({"encoder.layers.0.fc1.weight_mask": RunsCode()}, path)
    elif kind == "runs code, old format":
        torch.save({"model": RunsCode()}, path, _use_new_zipfile_serialization=False)
    elif kind == "not binary":
        torch.save({"a.weight_mask": torch.tensor([0.0, 0.5])}, path)
    elif kind == "shapes":
        torch.save({"a.weight_mask": torch.zeros(2), "a.weight_orig": torch.zeros(3)}, path)
    elif kind == "no layers":
        torch.save({"a": torch.zeros(2)}, path)
    elif kind == "a list":
        torch.save([torch.zeros(2)], path)
    elif kind == "text":
        path.write_text("0 1 1 0")
    elif kind == "transformers":
        save_file({"wav2vec2.encoder.layers.0.attention.q_proj.weight": torch.ones(4, 4)}, path)


@pytest.mark.parametrize(
    ("kind", "error", "line"),
    [
        ("runs code", CheckpointError, "refused: its pickle asks for"),
        ("runs code, old format", CheckpointError, "refused: its pickle asks for"),
        ("not binary", MaskError, "a.weight_mask has values other than 0 and 1"),
        ("shapes", MaskError, r"a.weight_mask has shape \(2,\), a.weight_orig has \(3,\)"),
        ("no layers", MaskError, "no mask, and no Transformer or conformer layer whose zeros could be one"),
        ("a list", MaskError, "no mask, and no Transformer or conformer layer whose zeros could be one"),
        ("text", MaskError, "not a mask, but a text file"),
        ("transformers", MaskError, "not a mask, but a safetensors file, as transformers and others write"),
        ("missing", MaskError, "no mask file at /"),
    ],
)
def test_what_is_no_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Exception], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bad(kind, tmp_path / "m.pt")
    with pytest.raises(error, match=line):
        read_mask(tmp_path / "m.pt")
    assert not (tmp_path / "owned").exists()


BASE = {
    "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072, "encoder_attention_heads": 12,
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2",
    "final_dim": 256, "latent_vars": 320, "conv_pos": 128, "conv_pos_groups": 16,
}  # fmt: skip


@pytest.mark.slow
def test_magnitude_is_torchs_global_l1_pruning_at_base_size(tmp_path: Path) -> None:
    base = tiny.make_pretrained(tmp_path / "base.pt", BASE)
    mask = make_mask(base, 0.5)
    assert (mask.size(), mask.zeros()) == (85_017_600, 42_508_800)
    scores = {n: t for n, t in checkpoints.read(base)["model"].items() if n in mask.bits}
    holder = nn.ParameterDict({n.replace(".", "/"): nn.Parameter(t) for n, t in scores.items()})
    prune.global_unstructured(
        [(holder, name) for name in holder], pruning_method=prune.L1Unstructured, amount=42_508_800
    )
    kept = dict(holder.named_buffers())
    cut = max(float(scores[name][~mask.kept(name)].abs().max()) for name in scores)
    for name in scores:
        differ = mask.kept(name) != kept[f"{name.replace('.', '/')}_mask"].bool()
        assert (scores[name][differ].abs() == cut).all(), "only ties at the cut may go either way"
