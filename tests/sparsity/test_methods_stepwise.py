"""gmp, rigl, set and ste, twenty updates beside a plain PyTorch implementation of the same rules."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.schedule import CubicRamp

UPDATES, INTERVAL, END = 20, 4, 15


def network(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    layers = [nn.ModuleDict({"fc1": nn.Linear(12, 9), "fc2": nn.Linear(9, 12)}) for _ in range(2)]
    return nn.ModuleDict({"layers": nn.ModuleList(layers)})


def loss_of(model: nn.ModuleDict, weights: dict[str, Tensor], update: int) -> Tensor:
    """Compute the loss of an update with any weights: the model only gives the shapes."""
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(update))
    for number in range(len(model["layers"])):  # type: ignore[arg-type]
        name = f"layers.{number}"
        hidden = torch.tanh(x @ weights[f"{name}.fc1.weight"].T + weights[f"{name}.fc1.bias"])
        x = x + hidden @ weights[f"{name}.fc2.weight"].T + weights[f"{name}.fc2.bias"]
    return x.square().mean()


def ours(method: str, **keys: object) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Return the weights after every update, and the masks."""
    model = network()
    config = read_config(method=method, sparsity=0.6, interval=INTERVAL, allocation="tensor", **keys)
    session = PruningSession.of_model(model, config, UPDATES, seed=3)
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=0.02)
    weights, masks = [], []
    for update in range(UPDATES):
        session.before_forward(update)
        assert session.mask is not None
        masks.append(dict(session.mask.items()))
        optimizer.zero_grad()
        loss_of(model, dict(parameters), update).backward()
        session.after_backward()
        session.before_step(update)
        optimizer.step()
        session.after_step(update + 1)
        weights.append({name: weight.detach().clone() for name, weight in parameters.items()})
    return weights, masks


def smallest(scores: Tensor, k: int) -> Tensor:
    """Return booleans that are True but for the k lowest scores, the first of equal ones."""
    keep = torch.ones(scores.numel(), dtype=torch.bool)
    keep[scores.flatten().sort(stable=True).indices[:k]] = False
    return keep.view(scores.shape)


def plain_gmp() -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    model = network()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=0.02)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in parameters.items()}
    weights, every = [], []

    def prune(update: int) -> None:
        part = 1 - Fraction(min(update, END), END)
        sparsity = Fraction(6, 10) - Fraction(6, 10) * part**3
        for name, weight in parameters.items():
            masks[name] = smallest(weight.detach().abs(), zero_count(sparsity, weight.numel()))
            weight.data[~masks[name]] = 0

    for update in range(UPDATES):
        every.append(dict(masks))
        optimizer.zero_grad()
        loss_of(model, parameters, update).backward()
        for name, weight in parameters.items():
            assert weight.grad is not None
            weight.grad[~masks[name]] = 0
        optimizer.step()
        for name, weight in parameters.items():
            weight.data[~masks[name]] = 0
        if (update + 1) % INTERVAL == 0 or update + 1 in (END, UPDATES):
            prune(update + 1)
        weights.append({name: weight.detach().clone() for name, weight in parameters.items()})
    return weights, every


def plain_drop_and_grow(kind: str) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    model = network()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=0.02)
    masks = {}
    for name, weight in parameters.items():
        masks[name] = smallest(weight.detach().abs(), zero_count(0.6, weight.numel()))
        weight.data[~masks[name]] = 0
    weights, every = [], []
    following: dict[str, Tensor] = {}
    for update in range(UPDATES):
        for name, mask in following.items():
            masks[name] = mask
            parameters[name].data[~mask] = 0
        following = {}
        every.append(dict(masks))
        optimizer.zero_grad()
        loss_of(model, parameters, update).backward()
        decides = (update + 1) % INTERVAL == 0 and update + 1 < END
        gradients = {name: weight.grad.clone() for name, weight in parameters.items() if weight.grad is not None}
        for name, weight in parameters.items():
            if weight.grad is not None and not (kind == "rigl" and decides):
                weight.grad[~masks[name]] = 0
        optimizer.step()
        chance = torch.Generator().manual_seed((3 + 2_654_435_761 * (update + 1)) % (1 << 32))
        for name, weight in parameters.items():
            weight.data[~masks[name]] = 0
            draw = torch.rand(weight.shape, generator=chance)
            if not decides:
                continue
            fraction = 0.3 / 2 * (1 + math.cos(math.pi * (update + 1) / END)) if kind == "rigl" else 0.3
            kept = masks[name].flatten().nonzero().flatten()
            count = round(fraction * len(kept))
            dropped = kept[weight.detach().flatten()[kept].abs().sort(stable=True).indices[:count]]
            mask = masks[name].flatten().clone()
            mask[dropped] = False
            empty = (~mask).nonzero().flatten()
            score = (gradients[name].abs() if kind == "rigl" else draw).flatten()[empty]
            mask[empty[score.sort(stable=True).indices[len(empty) - count :]]] = True
            following[name] = mask.view(weight.shape)
        weights.append({name: weight.detach().clone() for name, weight in parameters.items()})
    return weights, every


def plain_ste() -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    model = network()
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=0.02)
    weights, every = [], []
    for update in range(UPDATES):
        masks = {n: smallest(w.detach().abs(), zero_count(0.6, w.numel())) for n, w in parameters.items()}
        every.append(masks)
        optimizer.zero_grad()
        through = {name: weight + (weight * masks[name] - weight).detach() for name, weight in parameters.items()}
        loss_of(model, through, update).backward()
        optimizer.step()
        weights.append({name: weight.detach().clone() for name, weight in parameters.items()})
    return weights, every


CASES = {
    "gmp": ({"end_update": END}, plain_gmp),
    "rigl": ({"end_update": END}, lambda: plain_drop_and_grow("rigl")),
    "set": ({"end_update": END}, lambda: plain_drop_and_grow("set")),
    "ste": ({}, plain_ste),
}


@pytest.mark.parametrize("method", CASES)
def test_twenty_updates_are_those_of_plain_pytorch(method: str) -> None:
    keys, plain = CASES[method]
    for found, expected in zip(ours(method, **keys), plain(), strict=True):
        for update, (one, other) in enumerate(zip(found, expected, strict=True)):
            for name, tensor in one.items():
                assert torch.allclose(tensor.float(), other[name].float(), rtol=0, atol=1e-6), (update, name)


def test_masks_of_rigl_and_set_move_and_keep_their_size() -> None:
    for method in ("rigl", "set"):
        _, masks = ours(method, end_update=END)
        assert len({tuple(int(mask.sum()) for mask in each.values()) for each in masks}) == 1
        moved = [i for i in range(1, UPDATES) if any(not torch.equal(masks[i][n], masks[i - 1][n]) for n in masks[i])]
        assert moved == [4, 8, 12]


def test_the_cubic_ramp() -> None:
    ramp = CubicRamp(Fraction(0), Fraction(8, 10), 10)
    assert [float(ramp.at(u)) for u in (0, 5, 10, 12)] == [0.0, 0.7, 0.8, 0.8]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (
            {"method": "gmp", "start_sparsity": 0.7},
            "task.pruning.start_sparsity=0.7: must not exceed task.pruning.spars",
        ),
        ({"method": "gmp", "interval": None}, "task.pruning.interval=None: gmp raises its sparsity at prunes"),
        ({"method": "rigl", "interval": None}, "task.pruning.interval=None: rigl changes its mask"),
        ({"method": "set", "drop_fraction": 1.5}, "task.pruning.drop_fraction=1.5: must be a number in [0, 1)"),
        ({"method": "gmp", "end_update": 0}, "task.pruning.end_update=0: must be an update >= 1"),
        ({"method": "gmp", "end_update": 21}, "task.pruning.end_update=21: must not exceed optimization.max_update=20"),
        ({"method": "parp", "end_update": 9}, "task.pruning.end_update=9: is for methods gmp, rigl, set, not parp"),
        ({"method": "ste", "criterion": "random"}, "task.pruning.criterion='random': method ste takes magnitude"),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PruningSession.of_model(network(), read_config(keys), UPDATES)
    assert str(caught.value).startswith(line)
