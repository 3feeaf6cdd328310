from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_parp.errors import MaskError
from fairseq_parp.sparsity.masks import MaskSet
from fairseq_parp.sparsity.packing import pack_nonzero, unpack


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=70))
def test_bits_are_numpys_little_endian_packing(kept: list[bool]) -> None:
    tensor = torch.tensor(kept, dtype=torch.float32)
    bits = pack_nonzero(tensor)
    assert bits.numpy().tobytes() == np.packbits(np.array(kept, dtype=bool), bitorder="little").tobytes()
    assert unpack(bits, len(kept)).tolist() == kept


def masks() -> MaskSet:
    return MaskSet.of_nonzero({"a": torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]]), "b": torch.tensor([1.0, -0.0])})


def test_counts() -> None:
    found = masks()
    assert (found.size(), found.zeros(), found.zeros("a"), found.sparsity) == (8, 4, 3, 0.5)
    assert found.kept("a").tolist() == [[False, True, True], [False, False, True]]


def test_zero_and_churn() -> None:
    found, weights = masks(), torch.ones(2, 3)
    found.zero_({"a": weights})
    assert weights.tolist() == [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    other = MaskSet.of_nonzero({"a": torch.tensor([[1.0, 1.0, 2.0], [0.0, 0.0, 0.0]]), "b": torch.tensor([1.0, 0.0])})
    assert found.churn(other) == other.churn(found) == 2


def test_large_tensors_split_at_bytes() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(700_001) * (torch.rand(700_001) < 0.5)
    found = MaskSet.of_nonzero({"w": tensor})
    assert torch.equal(found.kept("w"), tensor != 0)
    weights = torch.ones_like(tensor)
    found.zero_({"w": weights})
    assert torch.equal(weights != 0, tensor != 0)


def test_save_and_load(tmp_path: Path) -> None:
    masks().save(tmp_path / "m.safetensors", source="a test")
    loaded = MaskSet.load(tmp_path / "m.safetensors")
    assert loaded.shapes == masks().shapes
    assert all(torch.equal(loaded.bits[name], bits) for name, bits in masks().bits.items())


def test_another_model() -> None:
    with pytest.raises(MaskError, match=r"lacks 1 parameter\(s\) \(c\) and has 1 other\(s\) \(b\)"):
        masks().require_same_model({"a": (2, 3), "c": (1,)}, "the model")
    with pytest.raises(MaskError, match=r"the mask of b has shape \(2,\), the model has \(1, 2\)"):
        masks().require_same_model({"a": (2, 3), "b": (1, 2)}, "the model")


def write(path: Path, header: object, body: bytes = b"\x00", length: int | None = None) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def header(shapes: object = '{"a": [3]}', *, dtype: str = "U8", shape: tuple[int, ...] = (1,), form: str = "v1",
           name: str = "a") -> dict[str, object]:  # fmt: skip
    return {"__metadata__": {"format": f"fairseq_parp.mask.{form}", "shapes": shapes},
            name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 1]}}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"header": header("no json")}, "its shapes cannot be read"),
        ({"header": header(form="v9")}, "format 'fairseq_parp.mask.v9', expected 'fairseq_parp.mask.v1'"),
        ({"header": header("[3]")}, "its shapes cannot be read"),
        ({"header": header('{"b": [3]}')}, "different names"),
        ({"header": header('{"a": [9]}')}, "does not have the bits of shape"),
        ({"header": header('{"a": [-1]}')}, "does not have the bits of shape"),
        ({"header": header('{"a": [99999999999, 99999999999]}')}, "does not have the bits of shape"),
        ({"header": header(dtype="I8")}, "does not have the bits of shape"),
        ({"header": header(), "body": b"\xf8"}, "does not have the bits of shape"),  # bits beyond the third
        ({"header": header(), "length": 1 << 60}, "not a safetensors file"),
        ({"header": header(), "body": b""}, "not a safetensors file"),
        ({"header": "text"}, "not a safetensors file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, case: dict[str, object], message: str) -> None:
    path = write(tmp_path / "m.safetensors", **case)  # type: ignore[arg-type]
    with pytest.raises(MaskError, match=message):
        MaskSet.load(path)


def test_no_such_file_names_the_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MaskError, match=f"no mask file at {tmp_path}/none.safetensors"):
        MaskSet.load("none.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    masks().save(path)
    before = path.read_bytes()

    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        masks().save(path, source="another")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def named(*names: str) -> MaskSet:
    return MaskSet.of_nonzero({name: torch.ones(2) for name in names})


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["w.m.e.a", "w.m.e.b", "w.proj"], ["w.m.e.a", "w.m.e.b"]),
        (["a", "b"], ["a", "b"]),
        (["e.a", "e.b", "c"], ["e.a", "e.b"]),
        (["e.a", "e.c"], ["e.a", "e.b"]),
        (["one.e.a", "one.e.b", "two.e.a", "two.e.b"], ["e.a", "e.b"]),
        (["xe.a", "xe.b"], ["e.a", "e.b"]),
    ],
    ids=["wrapped", "unwrapped", "as it is", "another model", "ambiguous", "not at a dot"],
)
def test_renamed_by_one_leading_part(there: list[str], expected: list[str]) -> None:
    found = named("e.a", "e.b").renamed(there)
    assert sorted(found.bits) == sorted(found.shapes) == expected


def test_a_digest_tells_masks_apart_that_differ_in_one_bit() -> None:
    one = MaskSet.of_nonzero({"a": torch.ones(20), "b": torch.ones(9)})
    other = MaskSet.of_nonzero({"a": torch.ones(20), "b": torch.tensor([1.0] * 8 + [0.0])})
    assert one.digest() == MaskSet.of_nonzero({"a": torch.ones(20), "b": torch.ones(9)}).digest() != other.digest()


def test_equal_masks_are_equal_files_whatever_the_order_of_their_notes(tmp_path: Path) -> None:
    mask = MaskSet.of_nonzero({"a": torch.tensor([0.0, 1.0, 2.0]), "b": torch.ones(9)})
    notes = {f"note{n}": str(n) for n in range(12)}
    contents = set()
    for number in range(8):
        mask.save(tmp_path / "m.safetensors", **dict(sorted(notes.items(), reverse=bool(number % 2))))
        contents.add((tmp_path / "m.safetensors").read_bytes())
    assert len(contents) == 1
    assert MaskSet.load(tmp_path / "m.safetensors").bits["a"].equal(mask.bits["a"])
