"""Parts of every method are extracted, applied, exported and extracted again; what is no part is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import made
import pytest
import tiny
import torch
from harmless import require_harmless
from safetensors.torch import save

from fairseq_parp import checkpoints, cli
from fairseq_parp.errors import CheckpointError, PartError
from fairseq_parp.export.exporting import export
from fairseq_parp.files import sha256
from fairseq_parp.mask_files.reading import read_mask
from fairseq_parp.parts.applying import apply
from fairseq_parp.parts.extracting import extract
from fairseq_parp.parts.part import Part, checksum
from fairseq_parp.sparsity import MaskSet

pytestmark = pytest.mark.filterwarnings("ignore")


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Names, and every tensor's bits: -0.0 is not 0.0."""
    return one.keys() == other.keys() and all(
        one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one
    )


@pytest.mark.parametrize("name", made.TRAINED)
def test_a_part_applied_is_its_checkpoint_and_extracted_again_the_same_file(
    name: str, parts: dict[str, Path], finetuned: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    part = Part.load(parts[name])
    assert part.content["method"] == made.METHODS[name]
    assert part.content["base"] == sha256(base)
    apply(base, parts[name], tmp_path / "applied.pt")
    was, now = checkpoints.read(finetuned[name]), checkpoints.read(tmp_path / "applied.pt")
    assert same_bits(was["model"], now["model"])
    assert list(was["model"]) == list(now["model"])
    assert now["task_state"]["target_dictionary"].symbols == was["task_state"]["target_dictionary"].symbols
    extract(tmp_path / "applied.pt", tmp_path / "again.safetensors", base, part.language)
    assert (tmp_path / "again.safetensors").read_bytes() == parts[name].read_bytes()
    assert cli.main(["report", str(tmp_path / "applied.pt")]) == 0


@pytest.mark.parametrize(("name", "target"), [("s3_router", "compact"), ("mpi", "fairseq"), ("bitfit", "compact")])
def test_an_exported_checkpoint_gives_the_same_part(
    name: str, target: str, parts: dict[str, Path], finetuned: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    (made_of := tmp_path / "applied.pt").write_bytes(b"")
    apply(base, parts[name], made_of)
    export(made_of, target, tmp_path / "out")
    (file,) = [file for file in (tmp_path / "out").iterdir() if file.name.startswith("model.")]
    if target == "fairseq":  # stock fairseq reads the dictionary from the data folder
        state = torch.load(file, weights_only=False)
        state["task_state"] = checkpoints.read(finetuned[name])["task_state"]
        torch.save(state, file)
    again, first = (
        extract(file, tmp_path / "a.safetensors", base, Part.load(parts[name]).language),
        Part.load(parts[name]),
    )
    if target == "compact":  # stock fairseq's file has no pruning state
        assert again.content == first.content
    assert same_bits(dict(again.tensors), dict(first.tensors))
    assert same_bits(again.mask.bits, first.mask.bits)
    for key in ("base", "method", "labels", "normalize", "sample_rate", "symbols", "shapes"):
        assert again.content[key] == first.content[key], key


def test_merged_lora_has_changed_the_base_and_is_no_part(
    finetuned: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    export(finetuned["lora"], "compact", tmp_path / "out")
    with pytest.raises(PartError, match=r"9 matrices of its base .* were trained, such as .*_proj.weight"):
        extract(tmp_path / "out" / "model.safetensors", tmp_path / "p.safetensors", base)
    assert not (tmp_path / "p.safetensors").exists()


def test_what_changes_matrices_of_the_base_is_no_part(base: Path, tmp_path: Path) -> None:
    for name, file in made.checkpoints(tmp_path, made.CHANGED, base).items():
        with pytest.raises(PartError, match=r"matrices of its base .* were trained, such as .*weight.*compact"):
            extract(file, tmp_path / f"{name[:4]}.safetensors")
        assert not (tmp_path / f"{name[:4]}.safetensors").exists()


def test_negative_zeros_and_zeros_of_the_base_come_back(finetuned: dict[str, Path], base: Path, tmp_path: Path) -> None:
    name = "encoder.layers.0.fc1.weight"
    before, after = checkpoints.read(base), checkpoints.read(finetuned["head_only"])
    weight = before["model"][name]
    weight[0, :4] = torch.tensor([0.0, -0.0, -0.0, 2.0])
    torch.save(before, tmp_path / "base.pt")
    masked = weight.clone()
    masked[0, :4] = torch.tensor([0.0, -0.0, 0.0, 0.0])
    after["model"][f"w2v_encoder.w2v_model.{name}"] = masked
    torch.save(after, tmp_path / "after.pt")
    part = extract(tmp_path / "after.pt", tmp_path / "p.safetensors", tmp_path / "base.pt")
    assert part.mask.zeros() == 2
    apply(tmp_path / "base.pt", tmp_path / "p.safetensors", tmp_path / "applied.pt")
    assert same_bits(checkpoints.read(tmp_path / "applied.pt")["model"], after["model"])


def test_a_mask_is_read_from_a_parts_checkpoint(parts: dict[str, Path], base: Path, tmp_path: Path) -> None:
    apply(base, parts["s3_router"], tmp_path / "applied.pt")
    mask = read_mask(tmp_path / "applied.pt")
    assert len(mask.bits) == 18
    assert mask.zeros() >= Part.load(parts["s3_router"]).mask.zeros() > 0


def test_the_command_shows_what_a_part_is(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finetuned: dict[str, Path]
) -> None:
    out = tmp_path / "nl.safetensors"
    assert cli.main(["part", "extract", str(finetuned["s3_router"]), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    for line in ("language   nl", f"base       SHA-256 {sha256(base)}", "method     mask+head", "5 symbols", "A, B"):
        assert line in shown.replace("9 symbols", "5 symbols"), line
    assert f"{out.stat().st_size:,} bytes" in shown
    assert cli.main(["part", "show", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pruning"]["method"] == "s3_router"
    assert found["adapters"]["config"]["kind"] == "head_only"
    assert found["bytes_by_kind"]["mask"] == sum(map(len, Part.load(out).mask.bits.values()))
    assert cli.main(["part", "apply", str(base), str(out), "-o", str(tmp_path / "c.pt")]) == 0
    assert "nl: mask+head" in capsys.readouterr().out


# --- bad input ----------------------------------------------------------------------------------------------------


def altered(file: Path, out: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], version: int = 1) -> Path:
    """Write a part with another content or other tensors, its checksum right."""
    part = Part.load(file)
    content = json.loads(json.dumps(part.content))
    stored = dict(part.tensors) | {f"{name}.mask": bits for name, bits in part.mask.bits.items()}
    change(content, stored)
    text = json.dumps(content)
    metadata = {"format": f"fairseq_parp.part.{version}", "content": text, "sha256": checksum(text, stored)}
    out.write_bytes(save(stored, metadata))
    return out


def drop_head(_content: dict[str, Any], stored: dict[str, Any]) -> None:
    del stored["w2v_encoder.proj.weight"]


def shorter_mask(_content: dict[str, Any], stored: dict[str, Any]) -> None:
    name = next(name for name in stored if name.endswith(".mask"))
    stored[name] = stored[name][:-1].clone()


REFUSED: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], None], str]] = {
    "no head": (drop_head, "has no head: w2v_encoder.proj.weight is missing"),
    "dictionary": (lambda c, _s: c["symbols"].pop(), "dictionary disagrees with its head: 8 symbols, 9 rows"),
    "mask": (shorter_mask, "does not have the bits of shape"),
    "shape": (lambda c, _s: c["shapes"].update({"w2v_encoder.proj.bias": [3]}), r"proj.bias has shape \(9,\)"),
    "negative": (lambda c, _s: c["shapes"].update({"w2v_encoder.proj.bias": [-9]}), "the shape of"),
    "stray": (lambda _c, s: s.update(stray=torch.ones(2)), "a tensor stray that its shapes do not name"),
    "type": (lambda c, _s: c.update(normalize="yes"), "its normalize is not of type bool"),
    "lacks": (lambda c, _s: c.pop("cfg"), "KeyError: 'cfg'"),
    "base": (lambda c, _s: c.update(base="x"), "its base is not a SHA-256"),
    "language": (lambda c, _s: c.update(language="a b"), "language 'a b'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_crafted_part_is_refused_in_one_line(case: str, parts: dict[str, Path], tmp_path: Path) -> None:
    change, match = REFUSED[case]
    file = altered(parts["s3_router"], tmp_path / "bad.safetensors", change)
    with pytest.raises(PartError, match=match) as refused:
        Part.load(file)
    assert str(refused.value).startswith(str(file))


def test_a_newer_format_and_another_kind_of_file_are_named(
    parts: dict[str, Path], base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = altered(parts["lora"], tmp_path / "newer.safetensors", lambda _c, _s: None, version=2)
    with pytest.raises(PartError, match=r"format is fairseq_parp.part.2; .* reads up to fairseq_parp.part.1"):
        Part.load(newer)
    MaskSet.of_nonzero({"w": torch.eye(3)}).save(tmp_path / "mask.safetensors")
    kinds = {base: "a checkpoint, which", tmp_path / "mask.safetensors": "a mask file", tmp_path: "a folder"}
    for file, kind in kinds.items():
        with pytest.raises(PartError) as refused:
            Part.load(file)
        assert str(refused.value).startswith(f"{file}: ")
        assert kind in str(refused.value)
        assert str(refused.value).count(str(file)) == 1
    with pytest.raises(PartError, match="no such file"):
        Part.load(tmp_path / "none.safetensors")
    assert cli.main(["report", str(parts["lora"])]) == 2
    assert "a part, which fairseq-parp part show reads" in capsys.readouterr().err


def test_every_flipped_bit_is_seen(parts: dict[str, Path], tmp_path: Path) -> None:
    whole = parts["s3_router"].read_bytes()
    file = tmp_path / "flipped.safetensors"
    for place in range(0, len(whole), 997):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(PartError):
            Part.load(file)
    for length in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(PartError):
            Part.load(file)


def test_another_base_is_refused_with_both_checksums(parts: dict[str, Path], base: Path, tmp_path: Path) -> None:
    state = checkpoints.read(base)
    state["model"]["mask_emb"] += 1
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(PartError, match=f"{sha256(base)}.*other.pt has {sha256(tmp_path / 'other.pt')}"):
        apply(tmp_path / "other.pt", parts["lora"], tmp_path / "out.pt")
    wider = tiny.make_pretrained(tmp_path / "wider.pt", {"encoder_embed_dim": 48})
    with pytest.raises(PartError, match=r"another architecture: it needs .* of shape \(32,\)|another architecture"):
        apply(wider, parts["lora"], tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
    before = base.read_bytes()
    with pytest.raises(CheckpointError, match="not overwritten"):
        apply(base, parts["lora"], base)
    assert base.read_bytes() == before


def test_extract_needs_the_base_a_head_and_equal_precision(
    finetuned: dict[str, Path], base: Path, tmp_path: Path
) -> None:
    moved = checkpoints.read(finetuned["lora"])
    moved["cfg"]["model"]["w2v_path"] = str(tmp_path / "gone.pt")
    torch.save(moved, tmp_path / "moved.pt")
    with pytest.raises(PartError, match=r"its pretrained file .*gone.pt does not exist; name it by --base FILE"):
        extract(tmp_path / "moved.pt", tmp_path / "p.safetensors")
    shutil.copy(base, tmp_path / "copy.pt")
    with pytest.raises(PartError, match="has no head"):
        extract(tmp_path / "copy.pt", tmp_path / "p.safetensors", base)
    half = {name: value.half() for name, value in moved["model"].items()}
    torch.save(moved | {"model": half}, tmp_path / "half.pt")
    with pytest.raises(PartError, match=r"torch.float16, its base .* has torch.float32: rounding"):
        extract(tmp_path / "half.pt", tmp_path / "p.safetensors", base)
    moved["task_state"]["target_dictionary"].add_symbol("more")
    torch.save(moved, tmp_path / "longer.pt")
    with pytest.raises(PartError, match="is not written: its dictionary disagrees with its head: 10 symbols, 9 rows"):
        extract(tmp_path / "longer.pt", tmp_path / "p.safetensors", base)
    with pytest.raises(PartError, match="name one with --language"):
        extract(finetuned["lora"], tmp_path / "p.safetensors", base, "a b")
    assert not (tmp_path / "p.safetensors").exists()


def test_files_of_wav2vec_base_are_as_small_as_documented(parts: dict[str, Path], tmp_path: Path) -> None:
    layers = [f"w2v_encoder.w2v_model.encoder.layers.{number}." for number in range(12)]
    matrices = [(name, (768, 768)) for name in ("q", "k", "v", "out")] + [("fc1", (3072, 768)), ("fc2", (768, 3072))]
    head = {"w2v_encoder.proj.weight": torch.zeros(9, 768), "w2v_encoder.proj.bias": torch.zeros(9)}
    shapes = {f"{layer}{name}.weight": shape for layer in layers for name, shape in matrices}
    adapters = {f"{layer}{place}.adapter.{part}": torch.zeros(shape) for layer in layers
                for place in ("self_attn", "fc2")
                for part, shape in (("down.weight", (256, 768)), ("down.bias", (256,)), ("up.weight", (768, 256)),
                                    ("up.bias", (768,)), ("norm.weight", (768,)), ("norm.bias", (768,)))}  # fmt: skip
    bits = {name: torch.zeros(shape[0] * shape[1] // 8, dtype=torch.uint8) for name, shape in shapes.items()}
    for limit, tensors, mask in ((12e6, head, MaskSet(bits, shapes)), (45e6, head | adapters, MaskSet({}, {}))):
        every = shapes | {name: tuple(value.shape) for name, value in tensors.items()}
        content = {**Part.load(parts["lora"]).content, "shapes": every}
        Part(content, tensors, mask).save(tmp_path / "base.safetensors")
        assert 0.8 * limit < (tmp_path / "base.safetensors").stat().st_size < limit
        Part.load(tmp_path / "base.safetensors")


@pytest.mark.parametrize("case", hostile.MASKS)
def test_hostile_files(case: str, tmp_path: Path) -> None:
    file = tmp_path / "hostile.safetensors"
    file.write_bytes(hostile.MASKS[case])
    require_harmless(lambda: Part.load(file), file, "PartError")


HOSTILE: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "a config that multiplies": lambda c, _s: c["cfg"].update(laughs=hostile.laughs(4)),
    "a config that calls": lambda c, _s: c["cfg"].update(secret="${oc.env:HOME}"),
    "a history that multiplies": lambda c, _s: c["history"].update(laughs=hostile.laughs(6)),
    "a huge shape": lambda c, _s: c["shapes"].update(w=[10**9] * 3),
    "a number of 5,000 digits": lambda c, _s: c["shapes"].update(w=[10**4000]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_content(case: str, parts: dict[str, Path], base: Path, tmp_path: Path) -> None:
    file = altered(parts["head_only"], tmp_path / "hostile.safetensors", HOSTILE[case])
    require_harmless(lambda: apply(base, file, tmp_path / "out.pt"), file, "PartError")
    assert not (tmp_path / "out.pt").exists()


def test_nested_content_is_refused(tmp_path: Path) -> None:
    text = '{"base": ' + "[" * 100_000
    metadata = {"format": "fairseq_parp.part.1", "content": text, "sha256": checksum(text, {})}
    file = tmp_path / "hostile.safetensors"
    file.write_bytes(save({}, metadata))
    require_harmless(lambda: Part.load(file), file, "PartError")
