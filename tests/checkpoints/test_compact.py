"""Compact checkpoints: exact, small, checked, and read wherever a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_parp.checkpoints import compact, read
from fairseq_parp.errors import UnreadableCheckpointError


def sparse(shape: tuple[int, ...], sparsity: float, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    values = torch.randn(shape).to(dtype)
    return values.masked_fill(torch.rand(shape) < sparsity, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=0, max_size=3), st.sampled_from([0.0, 0.05, 0.5, 0.9, 1.0]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
)  # fmt: skip
def test_everything_comes_back_bit_for_bit(shape: list[int], sparsity: float, dtype: torch.dtype) -> None:
    tensors = {"a": sparse(tuple(shape), sparsity, dtype), "b": torch.tensor([0.0, -0.0, float("nan"), 3.0, 0.0])}
    tensors["counts"] = torch.tensor([0, 0, 7])
    found, content = compact.decode(compact.encode(tensors, {"cfg": {"ä": 1}}))
    assert content == {"cfg": {"ä": 1}}
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        if value.numel():
            flat = [each.contiguous().view(-1).view(torch.uint8) for each in (found[name], value)]
            assert flat[0].equal(flat[1]), name


@pytest.mark.parametrize(
    ("sparsity", "dtype", "share"),
    [
        (0.5, torch.float32, 0.5313), (0.7, torch.float32, 0.3313), (0.9, torch.float32, 0.1313),
        (0.5, torch.float16, 0.2813), (0.7, torch.float16, 0.1813), (0.9, torch.float16, 0.0813),
    ],
)  # fmt: skip
def test_the_size_is_that_of_the_kept_values_and_the_bits(sparsity: float, dtype: torch.dtype, share: float) -> None:
    weight = torch.ones(768, 3072, dtype=dtype)
    weight.view(-1)[: round(sparsity * weight.numel())] = 0
    size = len(compact.encode({"w": weight}, {}))
    assert size <= 1.002 * (weight.element_size() * int(weight.count_nonzero()) + weight.numel() / 8)
    assert size / (4 * weight.numel()) == pytest.approx(share, abs=2e-3)


def test_equal_checkpoints_are_checked_and_altered_ones_refused(tmp_path: Path) -> None:
    content = {"cfg": {"model": {}, "task": {}}, "history": {}, "pruned": ["w"], "pruning": {}, "symbols": []}
    whole = compact.encode({"w": sparse((64, 8), 0.5, torch.float32), "b": torch.ones(5)}, content)
    file = tmp_path / "model.safetensors"
    file.write_bytes(whole)
    state = read(file)
    assert state["model"]["w"].equal(sparse((64, 8), 0.5, torch.float32))
    for place in (9, 40, len(whole) // 2, len(whole) - 3):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UnreadableCheckpointError, match=str(file)):
            read(file)
    for length in (9, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(UnreadableCheckpointError, match=str(file)):
            read(file)


def test_golden_bytes_of_a_small_file() -> None:
    """The layout stays: bits lowest first, values in order."""
    data = compact.encode({"w": torch.tensor([0.0, 1.0, 0.0, -2.0])}, {})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    start = 8 + int.from_bytes(data[:8], "little")
    places = {name: header[name]["data_offsets"] for name in ("w.bitmask", "w.values")}
    assert data[start:][slice(*places["w.bitmask"])] == bytes([0b1010])
    assert data[start:][slice(*places["w.values"])] == bytes.fromhex("0000803f000000c0")
    assert json.loads(header["__metadata__"]["content"]) == {"shapes": {"w": [4]}}
