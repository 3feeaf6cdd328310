"""Compact checkpoints: exact, small, checked, and read wherever a checkpoint is."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from benchmarks.weights import Size, fresh, session_of
from fairseq_parp.checkpoints import compact, load_into, read
from fairseq_parp.errors import CheckpointError, UnreadableCheckpointError

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
SECOND = (
    "IAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJmYWlyc2VxX3BhcnAuY29tcGFjdC4yIiwieHhoM18xMjgiOiJkODQ0NjcwMTVmNTEy"
    "MGI4YjU1MzQzODdkMzI3N2VhZCJ9LCJ2YWx1ZXMuRjMyIjp7ImR0eXBlIjoiRjMyIiwic2hhcGUiOlszXSwiZGF0YV9vZmZzZXRzIjpbMCwxMl19"
    "LCJiaXRtYXNrIjp7ImR0eXBlIjoiVTgiLCJzaGFwZSI6WzFdLCJkYXRhX29mZnNldHMiOlsxMiwxM119LCJjb250ZW50Ijp7ImR0eXBlIjoiVTgi"
    "LCJzaGFwZSI6WzU3XSwiZGF0YV9vZmZzZXRzIjpbMTMsNzBdfX0gICAgICAAAIA/AAAAwAAAQEAKeNqrVipJzSvOLypWsoqOVipX0lFyMzZS0ok2"
    "idUpKSpNjdWJVkqCCxrG6qQl5hSnxsbWAgDg7RDA"
)
"""A file of layout 2, in base 64."""
CONTENT: dict[str, Any] = {
    "cfg": {"model": {}, "task": {}}, "history": {}, "pruned": ["w"], "pruning": {}, "symbols": [],
}  # fmt: skip


def sparse(shape: tuple[int, ...], sparsity: float, dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    values = torch.randn(shape).to(dtype)
    return values.masked_fill(torch.rand(shape) < sparsity, 0)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors are equal bit for bit."""
    flat = [each.contiguous().as_strided((each.numel(),), (1,)).view(torch.uint8) for each in (one, other)]
    return one.dtype == other.dtype and one.shape == other.shape and flat[0].equal(flat[1])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=0, max_size=3), st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.98, 1.0]),
    st.sampled_from(DTYPES), st.sampled_from(DTYPES),
)  # fmt: skip
def test_everything_comes_back_bit_for_bit(
    shape: list[int], sparsity: float, dtype: torch.dtype, other: torch.dtype
) -> None:
    special = torch.tensor([0.0, -0.0, float("nan"), 3.0, 0.0])
    tensors = {"a": sparse(tuple(shape), sparsity, dtype), "b": special, "c": sparse((70, 3), sparsity, other)}
    tensors |= {"d": torch.randn(4).as_strided((1, 1), (0, 0)), "e": torch.from_numpy(np.zeros(0)).float()}
    tensors |= {"counts": torch.tensor([0, 0, 7]), "truths": torch.tensor([True, False])}
    found, content = compact.decode(compact.encode(tensors, {"cfg": {"ä": 1}}))
    assert content == {"cfg": {"ä": 1}}
    assert list(found) == list(tensors)
    assert all(same(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("sparsity", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_size_is_that_of_the_kept_values_and_the_bits(sparsity: float, dtype: torch.dtype) -> None:
    """An encoder of six layers, 256 wide; the names are as long as those of a finetuned model."""
    weights = fresh(Size(6, 256))
    session_of(weights, sparsity).prune(0)
    name = "w2v_encoder.w2v_model.encoder.layers.{}.self_attn.k_proj.weight"
    tensors = {name.format(number): value.to(dtype) for number, value in enumerate(weights.values())}
    size = len(compact.encode(tensors, {}))
    kept = sum(value.element_size() * int(value.count_nonzero()) for value in tensors.values())
    bits = sum(value.numel() for value in tensors.values()) / 8
    assert size <= 1.002 * (kept + (0.88 if sparsity == 0.9 else 1) * bits)  # words save an eighth: 1 / 16 + 1 - 0.9^16


def test_equal_checkpoints_are_checked_and_altered_ones_refused(tmp_path: Path) -> None:
    tensors = {"w": sparse((64, 8), 0.5, torch.float32), "b": torch.ones(5)}
    whole = compact.encode(tensors, CONTENT)
    assert whole == compact.encode(tensors, CONTENT)
    file = tmp_path / "model.safetensors"
    file.write_bytes(whole)
    state = read(file)
    assert state["model"]["w"].equal(tensors["w"])
    assert read(io.BytesIO(whole), "in memory")["model"]["w"].equal(tensors["w"])
    into = {name: torch.full_like(value, 7) for name, value in tensors.items()}
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(file, into)
    for length in (9, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        refused(file, into)
    file.write_bytes(whole + b"\0")
    refused(file, into)


def refused(file: Path, into: dict[str, torch.Tensor]) -> None:
    """Check that both ways of reading refuse a file, in one line that names it, and change no tensor."""
    for reading in (read, lambda path: load_into(into, path)):
        with pytest.raises(UnreadableCheckpointError, match=re.escape(str(file))) as caught:
            reading(file)
        assert "\n" not in str(caught.value)
    assert all(bool((value == 7).all()) for value in into.values())


def test_golden_bytes_of_a_small_file(tmp_path: Path) -> None:
    """The layout stays: bits lowest first, values in order, tensors one after another, and the library reads it."""
    data = compact.encode(
        {"w": torch.tensor([0.0, 1.0, 0.0, -2.0]), "b": torch.tensor([3.0]), "v": torch.tensor([0.0, 5.0])}, {"x": "ä"}
    )
    (tmp_path / "f").write_bytes(data)
    with safe_open(tmp_path / "f", framework="np") as file:
        metadata = file.metadata()
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    assert metadata["format"] == "fairseq_parp.compact.3"
    assert stored["values.F32"].tobytes() == bytes.fromhex("0000803f 000000c0 00004040 0000a040")
    assert stored["bitmask"].tolist() == [0b1010, 0b10]
    listed = [["w", "F32", [4], 1], ["b", "F32", [1], 0], ["v", "F32", [2], 1]]
    assert json.loads(zlib.decompress(stored["content"].tobytes())) == {"x": "ä", "tensors": listed}
    assert set(stored) == {"values.F32", "bitmask", "content"}
    unsigned = data.replace(metadata["xxh3_128"].encode(), b"0" * 32)
    assert xxhash.xxh3_128_hexdigest(unsigned) == metadata["xxh3_128"]


def test_golden_words_of_a_mask_with_many_zeros(tmp_path: Path) -> None:
    """Of five words of 16 bits, two keep a value: their places are two bits of a byte."""
    tensor = torch.zeros(72)
    tensor[17], tensor[68], tensor[71] = 1, 2, 3
    (tmp_path / "f").write_bytes(compact.encode({"w": tensor}, {}))
    with safe_open(tmp_path / "f", framework="np") as file:
        stored = {name: file.get_tensor(name).tolist() for name in ("values.F32", "bitmask", "words")}
    assert stored == {"values.F32": [1, 2, 3], "bitmask": [0b10010], "words": [0b10, 0b10010000]}
    assert same(compact.decode((tmp_path / "f").read_bytes())[0]["w"], tensor)


def test_a_file_of_the_second_layout_is_read() -> None:
    """It has true and false where the kind of a mask is now."""
    found, _ = compact.decode(base64.b64decode(SECOND))
    assert list(found) == ["w", "b"]
    assert same(found["w"], torch.tensor([0.0, 1.0, 0.0, -2.0]))
    assert same(found["b"], torch.tensor([3.0]))


def test_a_file_of_the_first_layout_is_refused_with_the_way_out(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "fairseq_parp.compact.1"}}).encode()
    (tmp_path / "f").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"compact\.1', expected 'fairseq_parp\.compact\.3': export .* again"):
        read(tmp_path / "f")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda listed: listed[0].__setitem__(2, [10**30]), "bitmask has fewer bytes than its tensors"),
        (lambda listed: listed[0].__setitem__(2, [-1]), r"lists a tensor 'w' of type 'F32' and shape \[-1\]"),
        (lambda listed: listed[0].__setitem__(2, [61]), "other bits than its shape"),
        (lambda listed: listed[0].__setitem__(3, 2), "'words'"),
        (lambda listed: listed[0].__setitem__(3, 3), "a tensor 'w' with a mask of kind 3"),
        (lambda listed: listed[0].__setitem__(2, [8]), "more values than its tensors"),
        (lambda listed: listed[0].__setitem__(1, "F64"), "values.F64"),
        (lambda listed: listed[1].__setitem__(2, [10**30]), r"values\.F32 has fewer bytes than its tensors"),
        (lambda listed: listed[1].__setitem__(1, "os.system"), "type 'os.system'"),
        (lambda listed: listed.clear(), "more values than its tensors"),
        (lambda listed: listed.append(["more"]), "TypeError"),
        (lambda listed: listed.insert(0, listed[1]), "keeps more than|fewer bytes"),
    ],
)
def test_a_forged_file_with_the_right_checksum_is_refused(
    change: Callable[[list[Any]], None], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list disagrees with its bytes; no memory is taken for what is not there."""
    original = json.dumps

    def forged(content: Any, **options: Any) -> str:
        if "tensors" in content:
            content["tensors"] = [list(each) for each in content["tensors"]]
            change(content["tensors"])
        return original(content, **options)

    monkeypatch.setattr(compact.json, "dumps", forged)
    tensors = {"w": sparse((64,), 0.5, torch.float32), "b": torch.ones(5)}
    tensors["w"][-1] = 1
    (tmp_path / "f").write_bytes(compact.encode(tensors, CONTENT))
    with pytest.raises(CheckpointError, match=named):
        read(tmp_path / "f")


def test_a_built_model_takes_the_values_in_place(tmp_path: Path) -> None:
    """Its tensors keep their identity; one of another type or layout takes rounded or moved values."""
    model = torch.nn.Sequential(torch.nn.Linear(70, 50), torch.nn.Linear(50, 3).half(), torch.nn.Linear(3, 65))
    saved = {name: sparse(tuple(value.shape), 0.5, torch.float32) for name, value in model.state_dict().items()}
    (tmp_path / "f").write_bytes(compact.encode(saved, {}))
    model[2].weight = torch.nn.Parameter(torch.zeros(3, 65).t())
    before = dict(model.named_parameters())
    load_into(model.state_dict(), tmp_path / "f")
    for name, parameter in model.named_parameters():
        assert parameter is before[name]
        assert same(parameter.detach(), saved[name].to(parameter.dtype)), name


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(compact.encode({"w": torch.zeros(3, 2), "b": torch.zeros(3)}, {}))
    with pytest.raises(CheckpointError, match=r"f: of another model: it lacks the tensors c, and has b in addition"):
        load_into({"w": torch.zeros(3, 2), "c": torch.zeros(3)}, tmp_path / "f")
    with pytest.raises(CheckpointError, match=r"w has shape \(3, 2\), the model's has \(2, 3\)"):
        load_into({"w": torch.zeros(2, 3), "b": torch.zeros(3)}, tmp_path / "f")
    with pytest.raises(CheckpointError, match="no such file"):
        load_into({}, tmp_path / "none")
    torch.save({}, tmp_path / "g")
    with pytest.raises(CheckpointError, match="not a compact checkpoint"):
        load_into({}, tmp_path / "g")
    np.save(tmp_path / "h.npy", np.zeros(3))
    with pytest.raises(CheckpointError, match="not a checkpoint, but a NumPy array"):
        load_into({}, tmp_path / "h.npy")
