"""Zeros in fairseq's own half-precision optimizers, flat and not: a step does not bring them back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fairseq_parp.sparsity import PruningSession, read_config
from fairseq_parp.training.masters import loss_scale, master_weights, overflowed, restore, state_of

COMMON = {"fp16_init_scale": 4, "fp16_scale_window": 100, "fp16_scale_tolerance": 0.0, "threshold_loss_scale": None,
          "min_loss_scale": 1e-4, "bf16": False, "tpu": False}  # fmt: skip
ADAM = {"_name": "adam", "lr": [0.01], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-8, "weight_decay": 0.0,
        "use_old_adam": False, "fp16_adam_stats": False, "tpu": False}  # fmt: skip


def network() -> nn.ModuleDict:
    torch.manual_seed(0)
    layers = [
        nn.ModuleDict({"norm": nn.LayerNorm(6), "fc1": nn.Linear(6, 8), "fc2": nn.Linear(8, 6)}) for _ in range(2)
    ]
    return nn.ModuleDict({"layers": nn.ModuleList(layers)}).half()


def optimizer_of(model: nn.Module, kind: str) -> Any:
    """Build fairseq's optimizer. Its flat master needs a CUDA device to be built; the object itself does not."""
    from fairseq import optim

    cfg = OmegaConf.create({"common": COMMON, "optimizer": ADAM, "optimization": {"update_freq": [1]}})
    parameters = list(model.parameters())
    if kind == "memory-efficient":
        return optim.MemoryEfficientFP16Optimizer.build_optimizer(cfg, parameters)
    if kind == "unflattened":
        masters: Any = optim.FP16Optimizer.build_fp32_params(cfg.optimizer, parameters, flatten=False)
        return optim.FP16Optimizer(cfg, parameters, optim.build_optimizer(cfg.optimizer, masters), masters)
    flat = nn.Parameter(torch.cat([parameter.data.float().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    masters = {None: flat}  # by device index, which a CPU has not
    return optim.FP16Optimizer(cfg, parameters, optim.build_optimizer(cfg.optimizer, [flat]), masters)


def step(model: nn.Module, optimizer: Any, gradient: float) -> None:
    optimizer.zero_grad()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient * 4)  # times the loss scale
    optimizer._needs_sync = True
    optimizer.multiply_grads(1.0)
    optimizer.clip_grad_norm(0.0)
    optimizer.step()


@pytest.mark.parametrize("kind", ["flat", "unflattened", "memory-efficient"])
def test_a_step_does_not_undo_a_prune(kind: str) -> None:
    model = network()
    optimizer = optimizer_of(model, kind)
    pruner = PruningSession.of_model(model, read_config(interval=1), 10)
    masters = master_weights(optimizer, {name: target.weight for name, target in pruner.parameters.items()})
    assert set(masters) == (set() if kind == "memory-efficient" else set(pruner.parameters))
    pruner.attach(masters)
    pruner.before_forward(0)
    before = {name: target.weight.clone() for name, target in pruner.parameters.items()}
    step(model, optimizer, gradient=0.0)
    assert pruner.live_zeros() == pruner.size // 2
    for name, target in pruner.parameters.items():
        assert torch.equal(target.weight, before[name])
    step(model, optimizer, gradient=0.5)
    assert pruner.live_zeros() == 0
    # regrown from zero by one Adam step, not back at their old values
    assert all((t.weight[before[n] == 0].abs() < 0.02).all() for n, t in pruner.parameters.items())
    pruner.after_step(2)
    assert pruner.live_zeros() == pruner.size // 2
    assert all(
        int((master == 0).sum()) == int((pruner.parameters[n].weight == 0).sum()) for n, master in masters.items()
    )


def test_without_the_masters_the_prune_is_undone() -> None:
    """The check bites: this is what happens to a prune that forgets the masters."""
    model = network()
    optimizer = optimizer_of(model, "flat")
    pruner = PruningSession.of_model(model, read_config(interval=1), 10)
    pruner.before_forward(0)
    step(model, optimizer, gradient=0.0)
    assert pruner.live_zeros() == 0


def test_an_amp_overflow_is_seen_by_its_scale() -> None:
    class Amp:
        class scaler:  # noqa: N801 (as fairseq's AMPOptimizer has it)
            scale = 8.0

            @classmethod
            def get_scale(cls) -> float:
                return cls.scale

    assert loss_scale(Amp) == 8.0
    assert not overflowed(Amp, 8.0)
    Amp.scaler.scale = 4.0
    assert overflowed(Amp, 8.0)
    assert loss_scale(object()) is None
    assert not overflowed(object(), None)


@pytest.mark.parametrize("kind", ["flat", "unflattened"])
def test_masters_and_the_scalers_counters_are_restored_and_the_weights_follow(kind: str) -> None:
    model, other = network(), network()
    optimizer, fresh = optimizer_of(model, kind), optimizer_of(other, "unflattened")
    for _ in range(3):
        step(model, optimizer, gradient=0.5)
    saved = state_of(optimizer)
    assert restore(fresh, saved)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), other.parameters(), strict=True))
    assert vars(fresh.scaler)["_iter"] == vars(optimizer.scaler)["_iter"] == 3
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(saved["masters"], fresh.fp32_params, strict=True))


def test_an_optimizer_without_masters_is_left_alone() -> None:
    model, other = network(), network()
    fresh = optimizer_of(other, "memory-efficient")
    assert not restore(fresh, state_of(optimizer_of(model, "unflattened")))
    assert state_of(fresh)["masters"] == []


def test_amps_gradient_scaler_is_restored() -> None:
    class Amp:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)

    saved = state_of(Amp)
    Amp.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    restore(Amp, saved)
    assert loss_scale(Amp) == 8.0
