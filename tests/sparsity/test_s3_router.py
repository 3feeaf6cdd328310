"""s3_router beside plain PyTorch with explicit scores, and that nothing shows scores in the place of weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import ConfigError, MaskError, ScopeError, WeightsError
from fairseq_parp.sparsity import PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.learned_scores import start_of
from fairseq_parp.sparsity.methods.s3_router import S3Router

UPDATES, MICRO_BATCHES, SPARSITY, SEED = 20, 2, 0.6, 3
Steps = list[dict[str, Tensor]]


def network(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    layers = [nn.ModuleDict({"fc1": nn.Linear(12, 9), "fc2": nn.Linear(9, 12)}) for _ in range(2)]
    return nn.ModuleDict({"layers": nn.ModuleList(layers)})


def loss(model: nn.ModuleDict, given: dict[str, Tensor], batch: int) -> Tensor:
    """Compute the loss of a batch with any weights: the model only gives the shapes."""
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(batch))
    weights = {name: weight.float() for name, weight in given.items()}
    for number in range(len(model["layers"])):  # type: ignore[arg-type]
        name = f"layers.{number}"
        hidden = torch.tanh(x @ weights[f"{name}.fc1.weight"].T + weights[f"{name}.fc1.bias"])
        x = x + hidden @ weights[f"{name}.fc2.weight"].T + weights[f"{name}.fc2.bias"]
    return x.square().mean()


def smallest(scores: Tensor, k: int) -> Tensor:
    """Return booleans that are True but for the k lowest scores, the first of equal ones."""
    keep = torch.ones(scores.numel(), dtype=torch.bool)
    keep[scores.flatten().sort(stable=True).indices[:k]] = False
    return keep.view(scores.shape)


def session_of(model: nn.Module, **keys: Any) -> PruningSession:
    config = read_config(method="s3_router", sparsity=SPARSITY, **keys)
    return PruningSession.of_model(model, config, UPDATES, seed=SEED)


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in model.named_parameters() if each.dim() > 1}


class Training:
    """A model with its session and its optimizer, with fp32 masters of the scores or without."""

    def __init__(
        self, dtype: torch.dtype = torch.float32, masters: bool = False, start: str = "weight_rank", scale: float = 1.0
    ) -> None:
        self.model = network().to(dtype)
        self.dense = {name: each.detach().clone() for name, each in matrices(self.model).items()}
        self.session = session_of(self.model, init_score=start, score_lr_scale=scale)
        scored = matrices(self.model)
        self.masters = {name: nn.Parameter(each.detach().float()) for name, each in scored.items()} if masters else {}
        stepped = [self.masters.get(name, each) for name, each in self.model.named_parameters()]
        self.optimizer = torch.optim.Adam(stepped, lr=0.02)
        self.session.attach({name: each.data for name, each in self.masters.items()})
        self.updates = 0

    def gradients(self) -> None:
        parameters = dict(self.model.named_parameters())
        for each in parameters.values():
            each.grad = None
        for number in range(MICRO_BATCHES):
            self.session.before_forward(self.updates)
            loss(self.model, parameters, MICRO_BATCHES * self.updates + number).backward()
            self.session.after_backward()

    def step(self) -> None:
        """As fairseq's optimizer of half precision: masters step, and are written over the model."""
        self.session.before_step(self.updates)
        parameters = dict(self.model.named_parameters())
        for name, master in self.masters.items():
            master.grad = parameters[name].grad.float()
        self.optimizer.step()
        for name, master in self.masters.items():
            parameters[name].data.copy_(master)

    def update(self) -> None:
        self.gradients()
        self.step()
        self.updates += 1
        self.session.after_step(self.updates)

    def weights(self) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in self.model.named_parameters()}

    def scores(self) -> dict[str, Tensor]:
        return {name: each.clone() for name, each in self.session.method.state_dict()["scores"].items()}

    def masked(self) -> dict[str, Tensor]:
        assert self.session.mask is not None
        return {name: weight * self.session.mask.kept(name) for name, weight in self.dense.items()}


class _Straight(torch.autograd.Function):
    """The mask of magnitudes; its gradient is theirs."""

    @staticmethod
    def forward(_ctx: Any, magnitudes: Tensor) -> Tensor:
        return smallest(magnitudes, zero_count(SPARSITY, magnitudes.numel())).to(magnitudes.dtype)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def plain(dtype: torch.dtype, start: str, scale: float = 1.0) -> tuple[Steps, Steps]:
    """Return the weights that the model computes with, and the scores, after every update."""
    model = network().to(dtype)
    chance = torch.Generator().manual_seed(SEED)
    dense = {name: each.detach().clone() for name, each in matrices(model).items()}
    scores = {n: nn.Parameter(start_of(start)(w, chance).to(dtype)) for n, w in dense.items()}
    rest = {name: each for name, each in model.named_parameters() if name not in dense}
    groups = [{"params": list(scores.values()), "lr": 0.02 * scale}, {"params": list(rest.values())}]
    optimizer = torch.optim.Adam(groups, lr=0.02)

    def shown() -> dict[str, Tensor]:
        return {n: w * _Straight.apply(scores[n].abs()).to(dtype) for n, w in dense.items()}

    weights, every = [], []
    for update in range(UPDATES):
        optimizer.zero_grad()
        for number in range(MICRO_BATCHES):
            loss(model, {**shown(), **rest}, MICRO_BATCHES * update + number).backward()
        optimizer.step()
        with torch.no_grad():
            weights.append({n: each.clone() for n, each in {**shown(), **rest}.items()})
        every.append({n: each.detach().clone() for n, each in scores.items()})
    return weights, every


@pytest.mark.parametrize("start", ["weight_rank", "weight_magnitude", "random"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_twenty_updates_are_those_of_plain_pytorch_to_the_last_bit(dtype: torch.dtype, start: str) -> None:
    training = Training(dtype, start=start)
    weights, scores = plain(dtype, start)
    first = None
    for update in range(UPDATES):
        training.update()
        for name, weight in training.weights().items():
            assert torch.equal(weight, weights[update][name]), (update, name)
        for name, score in training.scores().items():
            assert torch.equal(score, scores[update][name]), (update, name)
        first = first or training.session.mask
    assert first.churn(training.session.mask), "no mask has changed"


def test_a_learning_rate_of_their_own_is_that_of_an_own_group_of_the_optimizer() -> None:
    """At a power of two, whose products are exact, to the last bit."""
    training = Training(scale=4.0)
    weights, scores = plain(torch.float32, "weight_rank", scale=4.0)
    for update in range(UPDATES):
        training.update()
        for name, weight in training.weights().items():
            assert torch.equal(weight, weights[update][name]), (update, name)
        for name, score in training.scores().items():
            assert torch.equal(4 * score, scores[update][name]), (update, name)
    assert any(not torch.equal(each, plain(torch.float32, "weight_rank")[0][-1][n]) for n, each in weights[-1].items())


def test_beside_the_parameters_there_are_the_weights_and_the_scores_and_the_optimizer_steps_these_in_place() -> None:
    training = Training()
    training.update()
    shown = {name: each.data_ptr() for name, each in matrices(training.model).items()}
    training.gradients()
    training.session.before_step(1)
    assert not set(shown.values()) & {each.data_ptr() for each in matrices(training.model).values()}
    training.session.show_sparse()
    assert shown == {name: each.data_ptr() for name, each in matrices(training.model).items()}
    held = training.session.method
    assert isinstance(held, S3Router)
    assert set(held._weights) == set(held._scores) == set(shown)


def test_masters_are_the_scores_and_the_model_shows_rounded_weights() -> None:
    """Beside a loop that steps fp32 scores and rounds nothing but the weights."""
    training = Training(torch.bfloat16, masters=True)
    chance, starts = torch.Generator().manual_seed(SEED), {}
    for name, weight in training.dense.items():
        starts[name] = start_of("weight_rank")(weight, chance)
    scores = {name: nn.Parameter(each) for name, each in starts.items()}
    adam = torch.optim.Adam(scores.values(), lr=0.02)
    for _ in range(UPDATES):
        training.gradients()
        for name, each in matrices(training.model).items():
            scores[name].grad = each.grad.float()
        training.step()
        training.updates += 1
        training.session.after_step(training.updates)
        adam.step()
        for name, each in training.weights().items():
            if name in scores:
                kept = smallest(scores[name].detach().abs(), zero_count(SPARSITY, each.numel()))
                assert torch.equal(training.masters[name], scores[name])
                assert torch.equal(each, training.dense[name] * kept)


@pytest.mark.parametrize("masters", [False, True])
def test_a_step_that_breaks_off_leaves_masked_weights(masters: bool) -> None:
    training = Training(torch.bfloat16 if masters else torch.float32, masters)
    training.update()
    training.gradients()
    training.step()  # and no after_step
    assert any(not torch.equal(training.weights()[n], each) for n, each in training.masked().items())
    training.session.show_sparse()
    for name, weight in training.masked().items():
        assert torch.equal(training.weights()[name], weight)


def test_a_step_that_an_overflow_skips_changes_nothing() -> None:
    training, other = Training(), Training()
    for each in (training, other):
        each.update()
    training.session.before_step(1)  # what the optimizer then leaves out
    for each in (training, other):
        each.update()
    for name, weight in other.weights().items():
        assert torch.equal(training.weights()[name], weight)


@pytest.mark.parametrize("masters", [False, True])
@pytest.mark.parametrize("validated", [False, True])
def test_a_resumed_run_is_the_uninterrupted_one(masters: bool, validated: bool) -> None:
    """With masters, resuming writes them over the model, as fairseq does; with ``validated``, after a validation."""
    dtype = torch.bfloat16 if masters else torch.float32
    whole, again = Training(dtype, masters), Training(dtype, masters)
    for _ in range(4):
        whole.update()
    saved, model, adam = deepcopy((whole.session.state_dict(), whole.weights(), whole.optimizer.state_dict()))
    again.model.load_state_dict(model)
    again.session.load_state_dict(saved)
    for parameter in again.session.parameters.values():
        parameter.master = None
    if validated:
        again.session.show_sparse()
    again.session.attach({name: each.data for name, each in again.masters.items()})
    again.session.show_trained()
    again.optimizer.load_state_dict(adam)
    for name, master in again.masters.items():
        master.data.copy_(whole.masters[name])
        dict(again.model.named_parameters())[name].data.copy_(master)
    again.updates = 4
    for _ in range(4):
        whole.update()
        again.update()
    for name, weight in whole.weights().items():
        assert torch.equal(again.weights()[name], weight), name
    for name, score in whole.scores().items():
        assert torch.equal(again.scores()[name], score), name


def test_weights_that_are_zero_before_stay_in_their_place() -> None:
    training = Training()
    with torch.no_grad():
        for name, each in matrices(training.model).items():
            each[0] = 0
            training.dense[name][0] = 0
    training.update()
    again = Training()
    again.model.load_state_dict(training.weights())
    again.session.load_state_dict(training.session.state_dict())
    again.session.show_sparse()
    for name, each in training.dense.items():
        assert torch.equal(again.session.method._weights[name], each)  # type: ignore[attr-defined]


def test_scores_that_are_not_finite_end_the_run_with_the_last_mask() -> None:
    training = Training()
    training.update()
    before = training.masked()
    training.gradients()
    training.step()
    next(iter(matrices(training.model).values())).data[0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layers\.0\.fc1\.weight: 1 NaN or infinite value\(s\) at update 2"):
        training.session.after_step(2)
    training.session.show_sparse()
    for name, weight in before.items():
        assert torch.equal(training.weights()[name], weight)


def test_scores_of_a_damaged_state_are_refused() -> None:
    training = Training()
    training.update()
    name = next(iter(training.dense))
    for part in ("scores", "dropped"):
        state = training.session.state_dict()
        state["method"][part][name] = state["method"][part][name][:-1]
        with pytest.raises(MaskError, match=name):
            Training().session.load_state_dict(state)


def test_biases_are_left_out_and_a_scope_of_biases_is_refused() -> None:
    session = session_of(network())
    assert list(session.parameters) == list(matrices(network()))
    with pytest.raises(ScopeError, match=r"s3_router masks matrices only, and layers\.0\.fc1\.bias is a vector"):
        session_of(network(), scope=[r".*bias"])


def test_scores_train_where_the_weights_were_frozen() -> None:
    model = network()
    model.requires_grad_(False)
    session = session_of(model)
    assert [name for name, each in model.named_parameters() if each.requires_grad] == list(session.parameters)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"init_score": "zero"}, "task.pruning.init_score='zero': cannot train"),
        ({"init_score": 1}, "task.pruning.init_score=1: must be one of weight_rank"),
        ({"score_lr_scale": 0}, "task.pruning.score_lr_scale=0: must be a number above 0"),
        ({"criterion": "random"}, "task.pruning.criterion='random': method s3_router takes magnitude"),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        session_of(network(), **keys)
    assert str(caught.value).startswith(line)
