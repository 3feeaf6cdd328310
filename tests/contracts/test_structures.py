"""What must hold of every registered structure, alone and with every method; docs/extending.md adds one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from comparing import differences
from in_process import speech, state_of, train
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError, WeightsError
from fairseq_parp.sparsity import METHODS, PruningSession, Sources, read_config
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.methods import build_method
from fairseq_parp.sparsity.parameter import PrunedParameter
from fairseq_parp.sparsity.structures import STRUCTURES

PAGE = tiny.ROOT / "docs" / "extending.md"
UPDATES, INTERVAL, SPARSITY = 8, 2, 0.6


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the structure of the page, for the tests of this file only."""
    code = re.search(r"```python\n# my_pruning/structure\.py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert code
    monkeypatch.setattr(STRUCTURES, "_entries", dict(STRUCTURES._entries))
    exec(compile(code[1], "my_pruning/structure.py", "exec"), {})


NAMES = [*STRUCTURES, "blocks"]


def parameters(seed: int, ties: bool = False) -> dict[str, PrunedParameter]:
    chance = torch.Generator().manual_seed(seed)
    made = {
        name: torch.randn(shape, generator=chance) for name, shape in {"a": (6, 8), "b": (5,), "c": (4, 12)}.items()
    }
    if ties:
        made = {name: (2 * each).round() / 2 for name, each in made.items()}
    return {name: PrunedParameter(nn.Parameter(each)) for name, each in made.items()}


def choose(name: str, of: dict[str, PrunedParameter], k: int, include_zeros: bool = False) -> Any:
    return STRUCTURES[name](of, {n: each.ranked for n, each in of.items()}, k, 3, include_zeros)


def kept(bits: dict[str, Tensor], of: dict[str, PrunedParameter]) -> dict[str, Tensor]:
    return dict(MaskSet(bits, {name: tuple(each.weight.shape) for name, each in of.items()}).items())


@pytest.mark.parametrize("structure", NAMES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("k", [0, 1, 7, 50, 101])
def test_a_selection_zeroes_what_its_mask_leaves_out_and_nothing_else(structure: str, ties: bool, k: int) -> None:
    of, again = parameters(1, ties), parameters(1, ties)
    before = {name: each.weight.detach().clone() for name, each in of.items()}
    selection = choose(structure, of, k)
    found = kept(selection.mask().bits, of)
    assert all(torch.equal(each.weight, before[name]) for name, each in of.items()), "a mask alone zeroes nothing"
    zeros = sum(int((~each).sum()) for each in found.values())
    assert zeros <= k, "never more zeros than asked"
    assert {n: int(each.sum()) for n, each in found.items()} == dict(selection.mask().kept)
    displaces = any(bool(before[name][~each].any()) for name, each in found.items())
    assert selection.displaces == displaces
    everything = {name: torch.full_like(bits, 255) for name, bits in selection.mask().bits.items()}
    applied = choose(structure, again, k).apply(everything)
    assert kept(applied.bits, again).keys() == found.keys()
    assert all(torch.equal(each, found[name]) for name, each in kept(applied.bits, again).items()), "not repeatable"
    for name, each in again.items():
        assert torch.equal(each.weight, torch.where(found[name], before[name], 0.0)), name


@pytest.mark.parametrize("structure", NAMES)
def test_masters_are_zeroed_with_the_weights_and_churn_is_counted(structure: str) -> None:
    of = parameters(2)
    for each in of.values():
        each.master = each.weight.detach().clone().double()
    first = choose(structure, of, 30).apply(None)
    with torch.no_grad():
        for each in of.values():
            each.weight.add_(0.1 * torch.randn_like(each.weight))
            each.master = each.weight.detach().clone().double()
    second = choose(structure, of, 60).apply(first.bits)
    one, two = kept(first.bits, of), kept(second.bits, of)
    assert second.churn == sum(int((one[name] != two[name]).sum()) for name in one)
    for name, each in of.items():
        assert each.master is not None
        assert not each.master[~two[name]].any()
        assert not each.weight[~two[name]].any()


@pytest.mark.parametrize("structure", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_before_anything_changes(structure: str, bad: float) -> None:
    of = parameters(3)
    with torch.no_grad():
        of["c"].weight[2, 1] = bad
    before = {name: each.weight.detach().clone() for name, each in of.items()}
    with pytest.raises(WeightsError, match=r"c.*1.*update 3|c"):
        choose(structure, of, 50)
    assert all(torch.equal(each.weight, before[name]) or name == "c" for name, each in of.items())


def network(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    layer = nn.ModuleDict({"fc1": nn.Linear(12, 8), "fc2": nn.Linear(8, 12)})
    return nn.ModuleDict({"layers": nn.ModuleList([layer])})


def run(
    session: PruningSession, model: nn.ModuleDict, optimizer: torch.optim.Optimizer, updates: range
) -> Iterator[int]:
    """Train, and yield after every update, with the sparse model shown."""
    for update in updates:
        session.show_trained()
        session.before_forward(update)
        optimizer.zero_grad()
        x = torch.randn(7, 12, generator=torch.Generator().manual_seed(update))
        layer = model["layers"][0]
        layer["fc2"](torch.tanh(layer["fc1"](x))).sub(x).square().mean().backward()
        session.after_backward()
        session.before_step(update)
        optimizer.step()
        session.after_step(update + 1)
        session.show_sparse(update + 1)
        yield update + 1


def session_of(model: nn.ModuleDict, method: str, structure: str, folder: Path) -> PruningSession:
    keys: dict[str, Any] = {"method": method, "sparsity": SPARSITY, "interval": INTERVAL, "structure": structure}
    if method == "fixed":
        other = read_config(method="mpi", sparsity=SPARSITY, structure=structure)
        mask = PruningSession.of_model(network(7), other, UPDATES).mask_now(0)
        mask.save(folder / "mask.safetensors")
        keys["mask"] = str(folder / "mask.safetensors")
    sources = Sources(fresh_weights=lambda _: {n: p.detach() for n, p in network(5).named_parameters()})
    return PruningSession.of_model(model, read_config(keys), UPDATES, sources, seed=3)


def fitting(structure: str) -> list[str]:
    return [name for name in METHODS if structure in METHODS[name].fits.get("structure", (structure,))]


@pytest.mark.parametrize(("structure", "method"), [(s, m) for s in NAMES for m in fitting(s) if m != "dense"])
def test_a_run_of_every_method_that_fits(structure: str, method: str, tmp_path: Path) -> None:
    """The mask, the weights and the count that is reported agree at every update, and a resume changes nothing."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    session = session_of(model, method, structure, tmp_path)
    states = []
    for update in run(session, model, optimizer, range(UPDATES)):
        assert session.mask is not None
        masks = dict(session.mask.items())
        zeros = sum(int((~each).sum()) for each in masks.values())
        assert session.sparsity == zeros / session.size
        assert zeros <= sum(share.zeros for share in session.shares())
        for name, each in masks.items():
            assert not session.parameters[name].weight.detach()[~each].any(), (update, name)
        of = {name: PrunedParameter(nn.Parameter(each.float())) for name, each in masks.items()}
        if not METHODS[method].facts.grows:  # the mask is one that the structure can give: of itself it makes itself
            again = choose(structure, of, zeros)
            assert all(torch.equal(each, masks[name]) for name, each in kept(again.mask().bits, of).items()), update
        states.append(copy.deepcopy((model.state_dict(), session.state_dict(), optimizer.state_dict())))
    for stop in (3, 4):
        model, optimizer, session = network(9), None, None
        weights, pruning, adam = states[stop - 1]
        model.load_state_dict(weights)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        optimizer.load_state_dict(adam)
        session = session_of(model, method, structure, tmp_path)
        session.load_state_dict(pruning)
        list(run(session, model, optimizer, range(stop, UPDATES)))
        for name, each in model.state_dict().items():
            assert torch.equal(each, states[-1][0][name]), (stop, name)


@pytest.mark.parametrize("method", METHODS)
def test_a_structure_that_does_not_fit_is_refused_with_those_that_do(method: str) -> None:
    fits = METHODS[method].fits.get("structure")
    if fits is None or "blocks" in fits:
        assert read_config(method=method, structure="blocks").structure == "blocks"
        return
    with pytest.raises(ConfigError, match=rf"structure='blocks': method {method} takes {', '.join(fits)}"):
        build_method(read_config(method=method, structure="blocks"), UPDATES)


@pytest.mark.parametrize("method", ["parp", "rigl"])
def test_a_stopped_training_goes_on_to_the_last_bit(method: str, tmp_path: Path) -> None:
    """Through fairseq's own main, with the structure of the page."""
    data = tiny.make_corpus(tmp_path / "data", {"train": 9, "valid": 3})
    recipe = speech(data, tiny.make_pretrained(tmp_path / "pretrained.pt"))
    keys = {"method": method, "sparsity": 0.5, "interval": 2, "structure": "blocks"}
    train(recipe, tmp_path / "straight", **keys)
    train(recipe, tmp_path / "broken", stop_after=5, **keys)
    train(recipe, tmp_path / "broken", **keys)
    ends = [state_of(tmp_path / folder / "checkpoint_last.pt") for folder in ("straight", "broken")]
    assert differences(*ends) == []
