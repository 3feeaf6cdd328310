"""Fixed masks: their zeros stay zero, whatever the optimizer does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError, MaskError, ResumeError
from fairseq_parp.sparsity import MaskSet, PruningSession, Sources, read_config
from fairseq_parp.sparsity.magnitude import magnitude_mask, random_mask


def model(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    layers = [nn.ModuleDict({"fc1": nn.Linear(6, 8), "fc2": nn.Linear(8, 6)}) for _ in range(3)]
    return nn.ModuleDict({"layers": nn.ModuleList(layers)})


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def forward(network: nn.ModuleDict, x: Tensor) -> Tensor:
    for layer in network["layers"]:  # type: ignore[union-attr]
        x = x + layer["fc2"](torch.relu(layer["fc1"](x)))  # type: ignore[index]
    return x


def a_mask(seed: int = 3, sparsity: float = 0.5) -> MaskSet:
    return random_mask({name: tuple(w.shape) for name, w in weights(model()).items()}, sparsity, seed)


def make(network: nn.Module, first_mask: MaskSet | None = None, **keys: Any) -> PruningSession:
    sources = Sources() if first_mask is None else Sources(lambda _path: first_mask)
    return PruningSession.of_model(network, read_config(**keys), 50, sources)


def fixed(network: nn.Module, mask: MaskSet) -> PruningSession:
    return make(network, mask, method="fixed", mask="m.safetensors", sparsity=0.5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "warm adam"])
def test_zeros_stay_zero_through_momentum_and_weight_decay(optimizer: str) -> None:
    network, mask = model(), a_mask()
    pruner = fixed(network, mask)
    if optimizer == "sgd":
        steps: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    else:
        steps = torch.optim.Adam(network.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.1)
    if optimizer == "warm adam":  # moments from before there was a mask: they move weights that have no gradient
        for _ in range(5):
            forward(network, torch.randn(4, 6)).square().sum().backward()
            steps.step()
            steps.zero_grad()
    pruner.before_forward(0)
    for update in range(50):
        steps.zero_grad()
        forward(network, torch.randn(4, 6)).square().sum().backward()
        pruner.after_backward()
        steps.step()
        pruner.after_step(update + 1)
        for name, weight in weights(network).items():
            assert not weight[~mask.kept(name)].any()
    assert all((weights(network)[name] != 0)[mask.kept(name)].all() for name in mask.bits)


def test_training_is_that_of_torch_prune() -> None:
    """The same masks through torch's own reparametrisation give the same weights, gradients clipped by their norm."""
    from torch.nn.utils import prune

    ours, theirs = model(), model()
    mask = a_mask()
    pruner = fixed(ours, mask)
    pruner.before_forward(0)
    modules = {f"layers.{i}.{n}": layer[n] for i, layer in enumerate(theirs["layers"]) for n in ("fc1", "fc2")}  # type: ignore[arg-type, index]
    for name, module in modules.items():
        for part in ("weight", "bias"):
            prune.custom_from_mask(module, part, mask.kept(f"{name}.{part}"))
    runs = [(net, torch.optim.Adam(net.parameters(), lr=0.01)) for net in (ours, theirs)]
    for update in range(20):
        torch.manual_seed(update)
        x = torch.randn(4, 6)
        for net, steps in runs:
            steps.zero_grad()
            forward(net, x).square().sum().backward()
            if net is ours:
                pruner.after_backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            steps.step()
        pruner.after_step(update + 1)
    for name, module in modules.items():
        for part in ("weight", "bias"):
            theirs_now = getattr(module, f"{part}_orig") * getattr(module, f"{part}_mask")
            torch.testing.assert_close(weights(ours)[f"{name}.{part}"], theirs_now.detach())


def test_without_masked_gradients_clipping_sees_weights_that_are_not_there() -> None:
    """The test above bites: gradients of held zeros change the norm."""
    network = model()
    pruner = fixed(network, a_mask())
    pruner.before_forward(0)
    forward(network, torch.randn(4, 6)).square().sum().backward()
    whole = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    pruner.after_backward()
    left = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert float(left) < 0.95 * float(whole)


def test_mpi_is_the_magnitude_mask_of_the_initial_weights() -> None:
    network = model()
    expected = magnitude_mask(weights(network), 0.3)
    pruner = make(network, method="mpi", sparsity=0.3)
    report = pruner.before_forward(0)
    assert pruner.mask is not None
    assert report is not None
    assert pruner.mask.churn(expected) == 0
    assert report.zeros == pruner.live_zeros() == expected.zeros()


def test_a_natural_zero_that_the_mask_keeps_may_grow() -> None:
    network = model()
    with torch.no_grad():
        network["layers"][0]["fc1"].weight[:] = 0  # type: ignore[index, union-attr]
    pruner = fixed(network, a_mask())
    pruner.before_forward(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    pruner.after_step(1)
    assert pruner.live_zeros() == a_mask().zeros()


def test_masters_are_held_too() -> None:
    network, mask = model(), a_mask()
    pruner = fixed(network, mask)
    masters = {name: weight.double() for name, weight in weights(network).items()}
    pruner.attach(masters)
    pruner.before_forward(0)
    for master in masters.values():
        master.add_(1.0)
    pruner.after_step(1)
    assert all(torch.equal(master != 0, mask.kept(name)) for name, master in masters.items())


def test_validation_and_saving_displace_nothing() -> None:
    network = model()
    pruner = fixed(network, a_mask())
    pruner.before_forward(0)
    before = copy.deepcopy(weights(network))
    pruner.show_sparse(1)
    assert all(torch.equal(before[name], weight) for name, weight in weights(network).items())
    assert not any(values.numel() for values in pruner.state_dict()["stashed"].values())


def test_a_resumed_run_holds_its_mask_and_refuses_another() -> None:
    first = fixed(model(), a_mask())
    first.before_forward(0)
    state = first.state_dict()
    again = fixed(model(), a_mask())
    again.load_state_dict(state)
    assert again.before_forward(7) is None
    with torch.no_grad():
        for target in again.parameters.values():
            target.weight.add_(1.0)
    again.after_step(8)
    assert again.live_zeros() == a_mask().zeros()
    other = fixed(model(), a_mask(seed=4))
    with pytest.raises(ResumeError, match=r"task.pruning.mask: .*another, \d+ weights apart"):
        other.load_state_dict(state)


FIRST = "layers.0.fc1.weight"


@pytest.mark.parametrize(
    ("bits", "line"),
    [
        (torch.zeros(6, dtype=torch.float32), "the checkpoint: the mask of layers.0.fc1.weight does not have the bits"),
        (torch.zeros(6, dtype=torch.int64), "the checkpoint: the mask of layers.0.fc1.weight does not have the bits"),
        (torch.zeros(5, dtype=torch.uint8), "the checkpoint: the mask of layers.0.fc1.weight does not have the bits"),
        (torch.zeros(2, 3, dtype=torch.uint8), "the checkpoint: the mask of layers.0.fc1.weight does not have the b"),
        (torch.tensor(0, dtype=torch.uint8), "the checkpoint: the mask of layers.0.fc1.weight does not have the bits"),
        ([0] * 6, "the checkpoint's pruning state is damaged"),
        (None, "the checkpoint's pruning state is damaged"),
    ],
    ids=["float", "int64", "too short", "two dimensions", "no dimension", "a list", "None"],
)
def test_damaged_bits_of_a_held_mask(bits: Any, line: str) -> None:
    first = fixed(model(), a_mask())
    first.before_forward(0)
    state = first.state_dict()
    state["mask"][FIRST] = bits
    again = fixed(model(), a_mask())
    with pytest.raises(MaskError) as caught:
        again.load_state_dict(state)
    assert str(caught.value).startswith(line)
    assert again.mask is None


def test_a_held_mask_that_is_missing_from_the_state() -> None:
    first = fixed(model(), a_mask())
    first.before_forward(0)
    state = first.state_dict()
    del state["mask"][FIRST]
    with pytest.raises(ResumeError, match=r"task\.pruning\.scope: .*11 parameters.*12"):
        fixed(model(), a_mask()).load_state_dict(state)
    del state["mask"]
    with pytest.raises(MaskError, match=r"the checkpoint's pruning state is damaged \(KeyError: 'mask'\)"):
        fixed(model(), a_mask()).load_state_dict(state)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"method": "fixed"}, "task.pruning.mask=None: method fixed needs it"),
        ({"method": "mpi", "mask": "m"}, "task.pruning.mask='m': is for methods parp, parp_p, fixed, not mpi; leave"),
        ({"method": "rp", "mask": "m"}, "task.pruning.mask='m': is for methods parp, parp_p, fixed, not rp; leave"),
        ({"method": "dense", "mask": "m"}, "task.pruning.mask='m': is for methods parp, parp_p, fixed, not dense; le"),
        ({"method": "rp"}, "task.pruning.method='rp': needs the weights of a freshly initialised model"),
    ],
)
def test_a_mask_where_there_must_be_one_and_nowhere_else(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(model(), **keys)
    assert str(caught.value).startswith(line)


def test_a_sparsity_that_is_not_the_masks() -> None:
    with pytest.raises(MaskError, match=r"has 165 zeros where sparsity 0\.4 means 132 .* ask for sparsity 0\.5, or"):
        make(model(), a_mask(), method="fixed", mask="m", sparsity=0.4)
