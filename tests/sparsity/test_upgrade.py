"""Old keys and old checkpoints, and those of versions to come."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fairseq_parp.errors import ConfigError, MaskError
from fairseq_parp.sparsity import PruningSession, read_config
from fairseq_parp.sparsity.upgrade import find_state


def session_of(last_update: int = 10, **keys: Any) -> PruningSession:
    torch.manual_seed(0)
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"fc1": nn.Linear(6, 8)})])})
    return PruningSession.of_model(model, read_config(**keys), last_update)


def as_version_1(state: dict[str, Any], last_update: int = 10) -> dict[str, Any]:
    """What 0.1 wrote for the same run."""
    config = {
        key: value for key, value in state["config"].items() if key not in ("criterion", "structure", "allocation")
    }
    return {
        "config": {"start_sparsity": None, **config, "granularity": state["config"]["allocation"]},
        "last_update": last_update,
        "pruned_at": state["pruned_at"],
        "mask": state["mask"],
        "displaced": state["stashed"],
    }


@pytest.mark.parametrize("method", ["parp", "parp_p", "mpi"])
def test_a_checkpoint_of_version_1_is_continued(method: str) -> None:
    first = session_of(method=method, allocation="tensor", interval=4)
    first.before_forward(0)
    again = session_of(method=method, allocation="tensor", interval=4)
    for name, parameter in again.parameters.items():
        parameter.weight.data.copy_(first.parameters[name].weight)
    again.load_state_dict(as_version_1(first.state_dict()))
    assert again.mask is not None
    assert first.mask is not None
    assert again.mask.churn(first.mask) == 0
    assert again.state_dict()["config"] == first.state_dict()["config"]


def test_the_old_name_of_a_key() -> None:
    assert read_config(granularity="layer") == read_config(allocation="layer")
    with pytest.raises(ConfigError, match=r"task\.pruning\.granularity='layer': is the old name of allocation"):
        read_config(granularity="layer", allocation="tensor")


@pytest.mark.parametrize("version", [3, "new", None])
def test_a_newer_version_is_refused(version: object) -> None:
    first = session_of()
    first.before_forward(0)
    with pytest.raises(MaskError, match=r"the checkpoint's pruning state has version .*; this version reads up to 2"):
        session_of().load_state_dict({**first.state_dict(), "version": version})


def test_the_state_is_found_whatever_the_task_is_called() -> None:
    first = session_of()
    first.before_forward(0)
    state = first.state_dict()
    assert find_state({"epoch": 1, "SomeTask": {"pruning": state}}) == {"pruning": state}
    assert find_state({"ParpFinetuningTask": {"pruning": as_version_1(state)}}) is not None
    assert find_state({"SomeTask": {"pruning": {"amount": 1}}}) is None
    assert find_state(None) is None
