"""The pruner against direct computation: counts, displaced values, masters, restart."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq_parp.errors import MaskError, ResumeError, WeightsError
from fairseq_parp.sparsity import MaskSet, PrunedParameter, PruningSession, read_config
from fairseq_parp.sparsity.counting import zero_count

pytestmark = pytest.mark.usefixtures("kernel")


def model(seed: int = 0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    layers = [nn.ModuleDict({"fc1": nn.Linear(5, 7), "fc2": nn.Linear(7, 5)}) for _ in range(3)]
    return nn.ModuleDict({"layers": nn.ModuleList(layers), "head": nn.Linear(5, 2)})


def make(network: nn.Module, last_update: int | None = 30, **keys: Any) -> PruningSession:
    return PruningSession.of_model(network, read_config(**keys), last_update)


def weights(pruner: PruningSession) -> dict[str, Tensor]:
    return {name: target.weight.detach() for name, target in pruner.parameters.items()}


def train(pruner: PruningSession, seed: int = 1, step: float = 0.05) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in weights(pruner).values():
            weight.add_(step * torch.randn_like(weight))


@pytest.mark.parametrize("allocation", ["global", "layer", "tensor"])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.37, 0.5, 0.99])
def test_exactly_k_zeros_in_every_group(allocation: str, sparsity: float) -> None:
    network = model()
    pruner = make(network, allocation=allocation, sparsity=sparsity)
    pruner.before_forward(0)
    zeros = {name: int((weight == 0).sum()) for name, weight in weights(pruner).items()}
    for group in {"global": [""], "layer": ["layers.0", "layers.1", "layers.2"], "tensor": list(zeros)}[allocation]:
        members = [name for name in zeros if name.startswith(group)]
        size = sum(weights(pruner)[name].numel() for name in members)
        assert sum(zeros[name] for name in members) == zero_count(sparsity, size)


def test_the_first_mask_is_pytorchs_global_l1_mask() -> None:
    from torch.nn.utils import prune

    ours, theirs = model(), model()
    make(ours, sparsity=0.5).before_forward(0)
    modules = [layer[name] for layer in theirs["layers"] for name in ("fc1", "fc2")]  # type: ignore[union-attr, index]
    pairs = [(module, part) for module in modules for part in ("weight", "bias")]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.5)
    for module, part in pairs:
        prune.remove(module, part)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])


def test_natural_zeros_above_k_stay_and_nothing_else_goes() -> None:
    network = model()
    pruner = make(network, sparsity=0.1)
    with torch.no_grad():
        for weight in weights(pruner).values():
            weight.view(-1)[::2] = 0
    natural = pruner.live_zeros()
    before = copy.deepcopy(weights(pruner))
    report = pruner.before_forward(0)
    assert report is not None
    assert report.zeros == natural > zero_count(0.1, pruner.size)
    assert all(torch.equal(before[name], weight) for name, weight in weights(pruner).items())


def test_parameters_keep_their_identity_and_the_rest_its_value() -> None:
    network = model()
    head, first = network["head"].weight.clone(), network["layers"][0]["fc1"].weight  # type: ignore[union-attr, index, operator]
    make(network).before_forward(0)
    assert network["layers"][0]["fc1"].weight is first  # type: ignore[union-attr, index]
    assert torch.equal(network["head"].weight, head)  # type: ignore[arg-type]


def test_showing_the_sparse_model_changes_nothing() -> None:
    pruner = make(model(), interval=7)
    pruner.before_forward(0)
    train(pruner)
    weights(pruner)["layers.0.fc1.bias"][0] = -0.0
    before = copy.deepcopy(weights(pruner))
    pruner.show_sparse()
    assert pruner.live_zeros() == zero_count(0.5, pruner.size)
    pruner.show_sparse()
    pruner.show_trained()
    for name, weight in weights(pruner).items():
        assert torch.equal(weight.view(torch.int32), before[name].view(torch.int32)), name
    pruner.show_trained()


def test_churn_counts_weights_that_changed_side() -> None:
    pruner = make(model(), interval=7)
    pruner.before_forward(0)
    old = {name: weight == 0 for name, weight in weights(pruner).items()}
    train(pruner, step=0.3)
    assert pruner.after_step(6) is None
    report = pruner.after_step(7)
    assert report is not None
    assert report.churn == sum(int((old[name] != (weight == 0)).sum()) for name, weight in weights(pruner).items()) > 0


def test_parp_p_follows_its_ramp_and_holds_the_last_reprunes_sparsity_between() -> None:
    pruner = make(model(), 30, method="parp_p", sparsity=0.8, start_sparsity=0.2, interval=10)
    pruner.before_forward(0)
    for update, sparsity in [(0, 0.2), (9, 0.2), (10, 0.4), (15, 0.4), (20, 0.6), (29, 0.6), (30, 0.8)]:
        train(pruner, update)
        if update:
            pruner.after_step(update)
        pruner.show_sparse()
        assert pruner.live_zeros() == zero_count(str(sparsity), pruner.size), update
        pruner.show_trained()


def half(pruner: PruningSession, dtype: torch.dtype, *, flat: bool) -> dict[str, Tensor]:
    """Make the weights half precision, with fp32 masters: one flat tensor, or one a parameter."""
    values = {name: weight.clone() for name, weight in weights(pruner).items()}
    together = torch.cat([value.flatten() for value in values.values()])
    parts = together.split([value.numel() for value in values.values()])
    masters = {n: (part.view(v.shape) if flat else v) for (n, v), part in zip(values.items(), parts, strict=True)}
    pruner.parameters = {n: PrunedParameter(v.to(dtype)) for n, v in values.items()}
    pruner.attach(masters)
    return masters


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("flat", [True, False])
def test_masters_are_zeroed_where_the_model_is(dtype: torch.dtype, flat: bool) -> None:
    pruner = make(model(), interval=7)
    masters = half(pruner, dtype, flat=flat)
    pruner.before_forward(0)
    k = zero_count(0.5, pruner.size)
    assert pruner.live_zeros() == sum(int((m == 0).sum()) for m in masters.values()) == k
    for name, master in masters.items():
        master.add_(0.05 * torch.randn_like(master))
        pruner.parameters[name].weight.copy_(master)  # what FP16Optimizer does after every step
    pruner.show_sparse()
    assert pruner.live_zeros() == k
    assert not any((m == 0).any() for m in masters.values())
    pruner.show_trained()
    pruner.after_step(7)
    assert pruner.live_zeros() == sum(int((m == 0).sum()) for m in masters.values()) == k


def test_the_master_breaks_ties_of_the_half_precision_weight() -> None:
    pruner = PruningSession({"w": PrunedParameter(torch.ones(4, dtype=torch.float16))}, read_config(sparsity=0.5), 10)
    pruner.attach({"w": torch.tensor([1.0003, 1.0001, 1.0002, 1.0])})
    pruner.before_forward(0)
    assert weights(pruner)["w"].tolist() == [1.0, 0.0, 1.0, 0.0]


def test_underflow_to_half_precision_is_a_natural_zero() -> None:
    pruner = PruningSession(
        {"w": PrunedParameter(torch.tensor([0.0, 0.0, 1.0, 2.0]).half())}, read_config(sparsity=0.25), 10
    )
    masters = {"w": torch.tensor([1e-9, 2e-9, 1.0, 2.0])}
    pruner.attach(masters)
    report = pruner.before_forward(0)
    assert report is not None
    assert report.zeros == 2
    assert masters["w"].tolist() == [0.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("stop", [3, 7, 10, 14])
def test_a_restart_continues_to_the_last_bit(stop: int) -> None:
    straight, broken = make(model(), 17, interval=7), make(model(), 17, interval=7)
    for pruner in (straight, broken):
        pruner.before_forward(0)
    for update in range(1, 18):
        for pruner in (straight, broken):
            pruner.show_trained()
            train(pruner, update)
            pruner.after_step(update)
        if update == stop:
            broken.show_sparse()
            state, saved = broken.state_dict(), copy.deepcopy(weights(broken))
            fresh = make(model(9), 17, interval=7)
            for name, weight in weights(fresh).items():
                weight.copy_(saved[name])
            fresh.load_state_dict(state)
            fresh.show_trained()
            assert fresh.before_forward(update) is None
            broken = fresh
        assert all(torch.equal(weights(broken)[name], weight) for name, weight in weights(straight).items()), update
        assert straight.record is not None
        if broken.record is not None:
            assert broken.record.churn == straight.record.churn


def test_values_whose_places_are_not_known_are_not_put_back() -> None:
    """A run resumed in a narrower precision may have more zeros than were displaced."""
    pruner = make(model(), interval=7)
    pruner.before_forward(0)
    train(pruner)
    pruner.show_sparse()
    name, weight = next((name, weight) for name, weight in weights(pruner).items() if weight.count_nonzero())
    weight.view(-1)[weight.view(-1).nonzero()[0]] = 0
    left = weight.clone()
    pruner.show_trained()
    assert torch.equal(weight, left)
    assert all(other.all() for other_name, other in weights(pruner).items() if other_name != name)


def test_saved_values_cost_no_more_than_the_zeros() -> None:
    pruner = make(model(), interval=7)
    pruner.before_forward(0)
    pruner.show_sparse()
    assert sum(values.numel() for values in pruner.state_dict()["stashed"].values()) == 0
    pruner.show_trained()
    train(pruner)
    pruner.show_sparse()
    assert sum(values.numel() for values in pruner.state_dict()["stashed"].values()) == zero_count(0.5, pruner.size)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"method": "dense"}, "method"), ({"sparsity": 0.6}, "sparsity"), ({"interval": 8}, "interval"),
        ({"scope": (r".*fc1\.weight",)}, "scope"), ({"allocation": "layer"}, "allocation"),
    ],
)  # fmt: skip
def test_another_run_is_not_continued(keys: dict[str, Any], key: str) -> None:
    first = make(model(), interval=7)
    first.before_forward(0)
    with pytest.raises(ResumeError) as caught:
        make(model(), **({"interval": 7} | keys)).load_state_dict(first.state_dict())
    assert caught.value.key == f"task.pruning.{key}"
    assert str(caught.value).startswith(f"task.pruning.{key}: the checkpoint was trained with ")
    assert repr(caught.value.asked) in str(caught.value)


def test_another_ramp_is_not_continued() -> None:
    first = make(model(), 30, method="parp_p")
    first.before_forward(0)
    with pytest.raises(ResumeError, match=r"optimization\.max_update .*trained with 30, this command asks for 40"):
        make(model(), 40, method="parp_p").load_state_dict(first.state_dict())


@pytest.mark.parametrize("pruned_at", [-7, None, "seven"])
def test_a_last_prune_at_no_update_is_refused(pruned_at: object) -> None:
    first = make(model(), method="parp_p", start_sparsity=0.0)
    first.before_forward(0)
    with pytest.raises(MaskError, match="the checkpoint's pruning state is damaged"):
        make(model(), method="parp_p", start_sparsity=0.0).load_state_dict(
            {**first.state_dict(), "pruned_at": pruned_at}
        )


def test_not_finite_leaves_everything_as_it_was() -> None:
    pruner = make(model(), allocation="tensor")
    weights(pruner)["layers.2.fc2.bias"][1] = math.nan
    before = copy.deepcopy(weights(pruner))
    with pytest.raises(WeightsError, match=r"layers\.2\.fc2\.bias: 1 NaN"):
        pruner.before_forward(0)
    assert all(torch.equal(before[n], w) for n, w in weights(pruner).items() if n != "layers.2.fc2.bias")


def test_start_from_a_mask_file(tmp_path: Path) -> None:
    other = make(model(4), sparsity=0.5)
    other.before_forward(0)
    assert other.mask is not None
    other.mask.save(tmp_path / "m.safetensors")
    pruner = make(model(), sparsity=0.5, mask=str(tmp_path / "m.safetensors"))
    pruner.before_forward(0)
    assert pruner.mask is not None
    assert pruner.mask.churn(other.mask) == 0
    with pytest.raises(MaskError, match=r"has 123 zeros where sparsity 0\.4 means 98 .* ask for sparsity 0\.5"):
        make(model(), sparsity=0.4, mask=str(tmp_path / "m.safetensors"))


def test_a_mask_file_zeroes_the_masters_too(tmp_path: Path) -> None:
    other = make(model(4), sparsity=0.5)
    other.before_forward(0)
    assert other.mask is not None
    other.mask.save(tmp_path / "m.safetensors")
    pruner = make(model(), sparsity=0.5, mask=str(tmp_path / "m.safetensors"))
    masters = half(pruner, torch.float16, flat=True)
    pruner.before_forward(0)
    assert pruner.mask is not None
    assert pruner.mask.churn(other.mask) == 0
    assert sum(int((master == 0).sum()) for master in masters.values()) == pruner.live_zeros() == pruner.size // 2


def test_a_mask_of_another_model_is_refused(tmp_path: Path) -> None:
    MaskSet.of_nonzero({"w": torch.ones(3)}).save(tmp_path / "m.safetensors")
    with pytest.raises(MaskError, match="the mask is of another model than the model to prune"):
        make(model(), mask=str(tmp_path / "m.safetensors"))


def test_dense_costs_and_changes_nothing() -> None:
    pruner = make(model(), method="dense")
    before = copy.deepcopy(weights(pruner))
    pruner.before_forward(0)
    pruner.show_sparse()
    pruner.show_trained()
    assert all(torch.equal(before[name], weight) for name, weight in weights(pruner).items())
    assert all(pruner.after_step(update) is None for update in range(1, 30))
