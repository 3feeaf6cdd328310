"""What two runs left behind, compared bit by bit; what a run logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from fairseq_parp import checkpoints


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """List where two nested structures differ, tensors compared bit by bit."""
    if isinstance(one, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [where]
    if isinstance(one, dict):
        if set(one) != set(other):
            return [f"{where}: keys"]
        return [d for key in one for d in differences(one[key], other[key], f"{where}.{key}")]
    if isinstance(one, (list, tuple)):
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in differences(a, b, f"{where}.{i}")]
    return [] if one == other else [where]


def compare(one: Path, other: Path) -> list[str]:
    """List the differences of two checkpoints in weights, optimizer state, and the mask and what it displaced."""
    first, second = checkpoints.read(one), checkpoints.read(other)
    parts = [(state["model"], state.get("last_optimizer_state"), state["extra_state"].get("ParpFinetuningTask"))
             for state in (first, second)]  # fmt: skip
    return differences(*parts)


def logged(log: str, tag: str) -> list[dict[str, str]]:
    return [json.loads(line.split(f"[{tag}][INFO] - ")[1]) for line in log.splitlines() if f"[{tag}][INFO]" in line]
