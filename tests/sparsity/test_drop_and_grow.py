"""What moves the masks of rigl and set, and what does not: zeros that are there already, tensors without gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import ResumeError
from fairseq_parp.sparsity import PrunedParameter, PruningSession, read_config

NAMES = ("layers.0.fc1.weight", "layers.1.fc1.weight")


def session_of(method: str, zeros: float = 0.0, updates: int = 20, **keys: object) -> PruningSession:
    """Prune two tensors of 10 x 10 by half, of which a fraction is zero already, and take the first mask."""
    chance = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(10, 10, generator=chance) for name in NAMES}
    for weight in weights.values():
        weight[torch.rand(weight.shape, generator=chance) < zeros] = 0
    parameters = {name: PrunedParameter(nn.Parameter(weight)) for name, weight in weights.items()}
    session = PruningSession(parameters, read_config(method=method, sparsity=0.5, interval=2, **keys), updates)
    session.before_forward(0)
    return session


def masks(session: PruningSession) -> dict[str, Tensor]:
    assert session.mask is not None
    return {name: kept.clone() for name, kept in session.mask.items()}


def change(session: PruningSession, gradients: dict[str, Tensor]) -> None:
    """Make two updates, with these gradients and no step, and apply the mask that the second decides on."""
    for update in range(2):
        session.before_forward(update)
        for name, parameter in session.parameters.items():
            parameter.weight.grad = gradients[name].clone() if name in gradients else None
        session.after_backward()
        session.before_step(update)
        session.after_step(update + 1)
    session.before_forward(2)


@pytest.mark.parametrize("allocation", ["global", "tensor"])
@pytest.mark.parametrize("zeros", [0.0, 0.8])
def test_rigl_grows_the_largest_gradients_and_keeps_the_number_of_zeros(allocation: str, zeros: float) -> None:
    session = session_of("rigl", zeros, allocation=allocation)
    before = masks(session)
    count = {name: int(kept.sum()) for name, kept in before.items()}
    chance = torch.Generator().manual_seed(2)
    gradients = {name: torch.rand(10, 10, generator=chance) for name in NAMES}
    change(session, gradients)
    after = masks(session)
    assert sum(int(kept.sum()) for kept in after.values()) == sum(count.values())
    if allocation == "tensor":
        assert {name: int(kept.sum()) for name, kept in after.items()} == count
    grown = torch.cat([gradients[name][after[name] & ~before[name]] for name in NAMES])
    never = torch.cat([gradients[name][~after[name] & ~before[name]] for name in NAMES])
    assert len(grown) > 5
    if allocation == "global":
        assert grown.min() > never.max()
    for name in NAMES:
        most = gradients[name][after[name] & ~before[name]].min()
        assert allocation == "global" or most > gradients[name][~after[name] & ~before[name]].max()


@pytest.mark.parametrize("method", ["rigl", "set"])
@pytest.mark.parametrize("allocation", ["global", "tensor"])
@pytest.mark.parametrize("missing", ["none", "zeros"])
def test_a_tensor_without_gradients_keeps_its_mask(method: str, allocation: str, missing: str) -> None:
    """A frozen tensor, or one of a layer that layerdrop left out; other ranks may have filled in zeros."""
    session = session_of(method, allocation=allocation)
    before, first = masks(session), session.parameters[NAMES[0]].weight.detach().clone()
    gradients = {NAMES[1]: torch.rand(10, 10)}
    if missing == "zeros":
        gradients[NAMES[0]] = torch.zeros(10, 10)
    change(session, gradients)
    after = masks(session)
    assert torch.equal(after[NAMES[0]], before[NAMES[0]])
    assert torch.equal(session.parameters[NAMES[0]].weight, first)
    assert int(after[NAMES[1]].sum()) == int(before[NAMES[1]].sum())
    assert not torch.equal(after[NAMES[1]], before[NAMES[1]])


@pytest.mark.parametrize("method", ["gmp", "rigl", "set"])
def test_a_resumed_run_comes_to_rest_where_it_did(method: str) -> None:
    """The default is three quarters of the run: another ``max_update`` moves it, unless the key names it."""
    session = session_of(method, updates=20)
    state = session.state_dict()
    same = session_of(method, updates=40, end_update=15)
    same.load_state_dict(state)
    with pytest.raises(ResumeError, match=r"^task\.pruning\.end_update: .* 15, .* 30; .* task\.pruning\.end_update=15"):
        session_of(method, updates=40).load_state_dict(state)


@pytest.mark.parametrize("method", ["gmp", "rigl", "set"])
def test_a_checkpoint_of_before_the_end_was_saved_goes_on(method: str) -> None:
    session = session_of(method, updates=20)
    state = session.state_dict()
    del state["method"]["end"]
    resumed = session_of(method, updates=20)
    resumed.load_state_dict(state)
    assert resumed.mask is not None
    assert masks(resumed).keys() == masks(session).keys()
