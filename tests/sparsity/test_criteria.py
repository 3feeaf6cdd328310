"""Criteria: scores, exact counts whatever they are, and zeros that stay zeros."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError
from fairseq_parp.sparsity import MaskSet, PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.criteria import CRITERIA, Moment
from fairseq_parp.sparsity.magnitude import random_mask

pytestmark = pytest.mark.usefixtures("kernel")


def network(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    return nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"fc1": nn.Linear(6, 8)}) for _ in range(3)])})


def backward(model: nn.ModuleDict, seed: int) -> None:
    torch.manual_seed(seed)
    model.zero_grad()
    x = torch.randn(5, 6)
    sum(layer["fc1"](x).square().sum() for layer in model["layers"]).backward()  # type: ignore[union-attr, index]


def session_of(model: nn.Module, **keys: object) -> PruningSession:
    return PruningSession.of_model(model, read_config(sparsity=0.5, interval=2, **keys), 6, seed=7)


def weights(session: PruningSession) -> dict[str, Tensor]:
    return {name: parameter.weight.detach() for name, parameter in session.parameters.items()}


@pytest.mark.parametrize("method", ["parp", "mpi"])
@pytest.mark.parametrize("criterion", ["magnitude", "random", "saliency"])
@pytest.mark.parametrize("allocation", ["global", "tensor", "erk"])
def test_exactly_k_zeros_at_every_prune_and_in_every_sparse_view(method: str, criterion: str, allocation: str) -> None:
    model = network()
    session = session_of(model, method=method, criterion=criterion, allocation=allocation)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    k = zero_count(0.5, session.size)
    for update in range(6):
        session.before_forward(update)
        backward(model, update)
        session.after_backward()
        session.before_step(update)
        optimizer.step()
        record = session.after_step(update + 1)
        if record is not None:
            assert record.zeros == session.live_zeros() == k
        trained = copy.deepcopy(weights(session))
        with session.sparse_view(update + 1):
            assert session.live_zeros() == k
        assert all(torch.equal(trained[name], weight) for name, weight in weights(session).items())


def test_saliency_is_weight_times_gradient_of_the_first_update() -> None:
    model = network()
    session = session_of(model, criterion="saliency")
    assert session.before_forward(0) is None  # no gradients yet, no mask
    backward(model, 1)
    products = {n: (p.weight * p.weight.grad).detach().abs() for n, p in session.parameters.items()}  # type: ignore[operator]
    record = session.before_step(0)
    assert record is not None
    flat = torch.cat([product.view(-1) for product in products.values()])
    expected = torch.ones(len(flat), dtype=torch.bool)
    expected[flat.sort(stable=True).indices[: record.zeros]] = False
    assert session.mask is not None
    assert torch.equal(torch.cat([session.mask.kept(name).view(-1) for name in products]), expected)


def test_saliency_without_gradients_is_refused() -> None:
    session = session_of(network(), criterion="saliency")
    with pytest.raises(ConfigError, match=r"task\.pruning\.criterion='saliency': needs gradients"):
        session.before_step(0)


@pytest.mark.parametrize("update", [0, 1])
def test_saliency_of_a_layer_that_was_left_out_is_refused(update: int) -> None:
    """Its weights would all score zero, and the whole layer would be pruned."""
    model = network()
    session = session_of(model, criterion="saliency")
    for before in range(update):
        session.before_forward(before)
        backward(model, before)
        session.before_step(before)
        session.after_step(before + 1)
    session.before_forward(update)
    backward(model, update)
    model["layers"][1]["fc1"].weight.grad = None  # type: ignore[index, union-attr, operator]
    late = update > 0  # then there is a mask, and it is the re-prune that needs the gradients
    if late:
        session.before_step(update)
    with pytest.raises(ConfigError, match=r"layers\.1\.fc1\.weight has none in this update: .*layerdrop"):
        session.after_step(update + 1) if late else session.before_step(update)


@pytest.mark.parametrize("criterion", ["random", "saliency"])
def test_a_weight_that_half_precision_rounds_to_zero_is_restored_and_resumed(criterion: str) -> None:
    """Scores that do not follow magnitudes may keep such a weight; a file shows it as one more zero."""
    masters = {"layers.0.fc1.weight": torch.full((5, 8), 0.1), "layers.1.fc1.weight": torch.full((5, 8), 0.2)}
    masters["layers.0.fc1.weight"][::2] = 1e-9
    parameters = {name: PrunedParameter(nn.Parameter(master.half())) for name, master in masters.items()}
    session = PruningSession(parameters, read_config(sparsity=0.5, interval=9, criterion=criterion), 20, seed=7)
    session.attach(masters)
    session.before_forward(0)
    for parameter in parameters.values():
        parameter.weight.grad = torch.rand(5, 8).half()
    session.before_step(0)
    for name, parameter in parameters.items():  # the step: everything moves, some of it to what half precision lacks
        masters[name] += 0.01
        masters[name][3] = -1e-9
        parameter.weight.data.copy_(masters[name])
    session.after_step(1)
    trained = copy.deepcopy(weights(session))
    with session.sparse_view(1):
        assert session.live_zeros() >= zero_count(0.5, session.size)
        saved, state = copy.deepcopy(weights(session)), session.state_dict()
    assert all(torch.equal(trained[name], weight) for name, weight in weights(session).items())
    again = {name: PrunedParameter(nn.Parameter(weight)) for name, weight in saved.items()}
    resumed = PruningSession(again, read_config(sparsity=0.5, interval=9, criterion=criterion), 20, seed=7)
    resumed.load_state_dict(state)
    resumed.show_trained()
    assert all(torch.equal(trained[name], weight) for name, weight in weights(resumed).items())


def test_random_scores_follow_seed_and_update_alone() -> None:
    first, again, other = (session_of(network(seed), method="mpi", criterion="random") for seed in (0, 1, 2))
    other.seed = 8
    masks = []
    for session in (first, again, other):
        session.before_forward(0)
        assert session.mask is not None
        masks.append(session.mask)
    shapes = {name: tuple(weight.shape) for name, weight in weights(first).items()}
    assert masks[0].churn(masks[1]) == 0 == masks[0].churn(random_mask(shapes, 0.5, 7))
    assert masks[0].churn(masks[2]) > 0
    scores = [CRITERIA["random"].scores(first.parameters, Moment(update, 7)) for update in (0, 1)]
    assert not any(torch.equal(scores[0][name], scores[1][name]) for name in scores[0])


def test_weights_that_are_zero_go_first_whatever_their_score() -> None:
    model = network()
    with torch.no_grad():
        model["layers"][1]["fc1"].weight.zero_()  # type: ignore[index, union-attr, operator]
    session = session_of(model, criterion="random")
    session.before_forward(0)
    assert session.live_zeros() == zero_count(0.5, session.size)
    assert session.mask is not None
    assert session.mask.zeros("layers.1.fc1.weight") == 48
    assert isinstance(session.mask, MaskSet)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"criterion": "luck"}, "task.pruning.criterion='luck': must be one of magnitude, random, saliency"),
        ({"structure": "row"}, "task.pruning.structure='row': must be one of element"),
        ({"method": "rp", "criterion": "random"}, "task.pruning.criterion='random': method rp takes magnitude"),
        ({"method": "dense", "criterion": "saliency"}, "task.pruning.criterion='saliency': method dense takes magn"),
    ],
)
def test_criteria_and_structures_that_do_not_exist_or_fit(keys: dict[str, str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        session_of(network(), **keys)
    assert str(caught.value).startswith(line)
