"""What must hold of every kind of ``task.adapters``, through fairseq's own training, and of kinds with pruning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from in_process import speech, state_of, train
from test_training import differences

from fairseq_parp import checkpoints
from fairseq_parp.adapters import KINDS, merged
from fairseq_parp.architectures import is_adapter
from fairseq_parp.cli.report import render
from fairseq_parp.errors import OneLineExit
from fairseq_parp.mask_files.report import report
from fairseq_parp.transcription.loading import load_finetuned

Recipe = dict[str, Any]

KEYS: dict[str, dict[str, Any]] = {
    "full": {},
    "bottleneck": {"width": 4, "layers": 2},
    "lora": {"rank": 2, "maps": ["q", "v", "fc2"], "dropout": 0.1},
    "bitfit": {},
    "head_only": {},
    "top_n": {"layers": [2]},
}

TRAINED = {
    "full": r".*",
    "bottleneck": r".*layers\.[12]\.(self_attn|fc2)\.adapter\..*|.*layers\.\d\.\w*layer_norm\..*|.*proj\.(weight|bias)",
    "lora": r".*lora\.(up|down)|w2v_encoder\.proj\..*",
    "bitfit": r".*encoder\.layers\..*bias|w2v_encoder\.proj\..*",
    "head_only": r"w2v_encoder\.proj\..*",
    "top_n": r".*encoder\.layers\.2\..*|w2v_encoder\.proj\..*",
}
"""Names that may change."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("adapters")
    data = tiny.make_corpus(folder / "data", {"train": 9, "valid": 3})
    return speech(data, tiny.make_pretrained(folder / "pretrained.pt"))


def with_kind(recipe: Recipe, kind: str, **keys: Any) -> Recipe:
    """The recipe with ``task.adapters``."""
    return recipe | {"task": recipe["task"] | {"adapters": {"kind": kind, **KEYS[kind], **keys}}}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Any:
    """Return the folder of a kind's training that nothing stopped."""
    done: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in done:
            done[kind] = tmp_path_factory.mktemp(kind)
            train(with_kind(recipe, kind), done[kind], method="dense")
        return done[kind]

    return folder


def test_every_kind_is_tested() -> None:
    assert set(KEYS) == set(TRAINED) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_trains_changes_and_the_checkpoint_counts_it(kind: str, straight: Any, recipe: Recipe) -> None:
    model, entry, optimizer = state_of(straight(kind) / "checkpoint_last.pt")
    before = checkpoints.read(recipe["model"]["w2v_path"])["model"]
    changed = set()
    for name, value in model.items():
        old = before.get(name.removeprefix("w2v_encoder.w2v_model."))
        if old is not None and not torch.equal(old, value):
            changed.add(name)
            assert re.fullmatch(TRAINED[kind], name), name
    assert bool(changed) == (kind not in ("lora", "head_only"))
    count = sum(entry["adapters"]["trained"].values())
    assert count == sum(each["exp_avg"].numel() for each in optimizer["state"].values()) or kind == "full"
    assert entry["adapters"]["size"] == sum(v.numel() for n, v in model.items() if not n.endswith("lora.scale"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_training_goes_on_to_the_last_bit(kind: str, recipe: Recipe, straight: Any, tmp_path: Path) -> None:
    train(with_kind(recipe, kind), tmp_path, stop_after=5, method="dense")
    train(with_kind(recipe, kind), tmp_path, method="dense")
    ends = [state_of(folder / "checkpoint_last.pt") for folder in (tmp_path, straight(kind))]
    assert differences(*ends) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_decodes_without_its_config(kind: str, straight: Any) -> None:
    file = straight(kind) / "checkpoint_last.pt"
    found = load_finetuned(file).model.state_dict()
    saved = checkpoints.read(file)["model"]
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[name], saved[name]) for name in saved)
    assert any(map(is_adapter, saved)) == (kind in ("bottleneck", "lora"))


def test_the_report_shows_what_trained(straight: Any) -> None:
    text = render(report(straight("bottleneck") / "checkpoint_last.pt"))
    assert re.search(r"^trained +bottleneck: [\d,]+ of [\d,]+ parameters \(.*adapters 1,424", text, re.MULTILINE)


def test_merged_lora_loads_strictly_and_computes_the_same(straight: Any) -> None:
    file = straight("lora") / "checkpoint_last.pt"
    adapted, plain = load_finetuned(file).model, load_finetuned(straight("head_only") / "checkpoint_last.pt").model
    plain.load_state_dict(merged(str(file), adapted.state_dict()), strict=True)
    audio = {"source": torch.randn(2, 8000), "padding_mask": torch.zeros(2, 8000, dtype=torch.bool)}
    with torch.no_grad():
        one, other = (model(**audio)["encoder_out"] for model in (adapted, plain))
    assert torch.allclose(one, other, atol=2e-5)
    assert not torch.equal(adapted.state_dict()["w2v_encoder.w2v_model.encoder.layers.0.fc2.weight"],
                           plain.state_dict()["w2v_encoder.w2v_model.encoder.layers.0.fc2.weight"])  # fmt: skip


def test_another_kind_is_refused_on_resuming(straight: Any, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.pt").write_bytes((straight("bottleneck") / "checkpoint_last.pt").read_bytes())
    with pytest.raises(OneLineExit, match=r"task\.adapters: the checkpoint was trained with"):
        train(with_kind(recipe, "lora"), tmp_path, method="dense")


def test_adapters_on_a_pruned_encoder_keep_its_zeros(recipe: Recipe, tmp_path: Path) -> None:
    train(recipe, tmp_path / "parp", method="parp", sparsity=0.5, interval=2)
    sparse = tmp_path / "parp" / "checkpoint_last.pt"
    adapted = with_kind(recipe, "bottleneck")
    adapted["checkpoint"] = recipe["checkpoint"] | {"finetune_from_model": str(sparse)}
    train(adapted, tmp_path / "adapted", method="mpi", sparsity=0.5)
    was, (now, entry, _) = state_of(sparse)[0], state_of(tmp_path / "adapted" / "checkpoint_last.pt")
    assert entry["pruning"]["mask"].keys() == {name for name in entry["pruning"]["mask"] if not is_adapter(name)}
    for name in entry["pruning"]["mask"]:
        assert torch.equal(was[name], now[name]), name
    assert sum(int((now[name] == 0).sum()) for name in entry["pruning"]["mask"]) > 0


def test_parp_of_an_adapted_model(straight: Any, recipe: Recipe, tmp_path: Path) -> None:
    pruned = with_kind(recipe, "bottleneck")
    pruned["checkpoint"] = recipe["checkpoint"] | {
        "finetune_from_model": str(straight("bottleneck") / "checkpoint_last.pt")
    }
    train(pruned, tmp_path, method="parp", sparsity=0.5, interval=2)
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    zeros = sum(int((model[name] == 0).sum()) for name in entry["pruning"]["mask"])
    size = sum(model[name].numel() for name in entry["pruning"]["mask"])
    assert zeros == size // 2
    assert not any(map(is_adapter, entry["pruning"]["mask"]))


@pytest.mark.parametrize(
    ("kind", "pruning", "message"),
    [
        ("lora", {"method": "parp"}, r"task\.adapters\.kind='lora': adds to .*which is pruned"),
        (
            "head_only",
            {"method": "parp", "criterion": "saliency"},
            r"task\.pruning\.criterion='saliency': ranks by",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    kind: str, pruning: dict[str, Any], message: str, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(OneLineExit, match=message):
        train(with_kind(recipe, kind), tmp_path, sparsity=0.5, interval=2, **pruning)
