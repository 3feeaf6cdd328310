"""Real trainings with a codebook: a resume to the last bit, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from comparing import differences
from in_process import state_of, train
from omegaconf import OmegaConf
from torch import nn

from fairseq_parp import checkpoints
from fairseq_parp.errors import OneLineExit
from fairseq_parp.grounded.codes import Codes, CodeSettings
from fairseq_parp.sparsity.scope import in_paper_scope
from fairseq_parp.training.code_updates import CodeUpdates

CODES: dict[str, dict[str, Any]] = {
    "criterion": {"code_weight": 0.5},
    "model": {"codes": 6, "code_width": 8, "code_warm_up": 2, "code_patience": 2, "code_fusion": True},
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    recipe: Any = OmegaConf.create(small.recipe(tmp_path_factory.mktemp("codes")))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.update(max_update=7, update_freq=[2])
    recipe.optimizer.weight_decay = 0.1
    made: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(recipe, CODES))  # type: ignore[assignment]
    return made


@pytest.fixture(scope="module")
def trained(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(given, folder, method="parp", sparsity=0.5, interval=3)
    return folder


def changed(given: dict[str, Any], **groups: dict[str, Any]) -> dict[str, Any]:
    return given | {name: given[name] | keys for name, keys in groups.items()}


def test_a_codebook_is_trained_saved_and_resumed_to_the_last_bit(
    given: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    train(given, tmp_path, stop_after=5, method="parp", sparsity=0.5, interval=3)
    assert not list(tmp_path.glob("*_6.pt"))
    train(given, tmp_path, method="parp", sparsity=0.5, interval=3)
    assert differences(*(state_of(folder / "checkpoint_last.pt") for folder in (trained, tmp_path))) == []
    early, late = (checkpoints.read(file) for file in (next(tmp_path.glob("*_3.pt")), tmp_path / "checkpoint_last.pt"))
    book = "grounded.codes.book."
    assert early["model"][f"{book}seeded"]
    assert not torch.equal(early["model"][f"{book}embedding"], late["model"][f"{book}embedding"])
    assert float(early["model"][f"{book}idle"].max()) == 0
    assert not in_paper_scope(name for name in late["model"] if "codes" in name)
    meters = {name: meter for _, name, _, meter in late["extra_state"]["metrics"]["valid"]}
    assert meters["loss_codes"]["val"] > 0


def test_without_codes_nothing_of_them_is_built(given: dict[str, Any], tmp_path: Path) -> None:
    plain = changed(
        given, criterion={"code_weight": 0}, model={"codes": 0, "code_fusion": False}, optimization={"max_update": 1}
    )
    train(plain, tmp_path, method="dense")
    assert not [name for name in checkpoints.read(tmp_path / "checkpoint_last.pt")["model"] if "codes" in name]


def test_codes_follow_the_micro_batches_of_steps_that_were_taken_and_no_others() -> None:
    torch.manual_seed(1)
    settings = CodeSettings(codes=2, width=4, temperature=1.0, decay=0.9, warm_up=0, patience=9, fused=False)
    branch = nn.Module()
    branch.cls = nn.Parameter(torch.ones(4))
    model = nn.Module()
    model.grounded = nn.ModuleDict({"image": branch, "codes": Codes(4, settings, ("audio", "image"))}).train()
    updates, codes = CodeUpdates(model, 3), model.grounded["codes"]

    def micro_batch(ignore: bool = False) -> int:
        updates.before_forward(ignore)
        codes("audio", torch.randn(2, 3, 4))
        branch.cls.sum().backward()
        return sum(len(rows) for rows in codes.book._seen.get("audio", []))

    assert (micro_batch(), micro_batch(), micro_batch(ignore=True)) == (6, 12, 12)
    model.zero_grad()  # fp16 overflowed: fairseq clears the gradients and takes no step
    assert micro_batch() == 6
    updates.after_step(1, taken=False)
    assert not codes.book.seeded
    model.zero_grad()
    micro_batch()
    updates.after_step(1, taken=True)
    assert codes.book.seeded
    assert not codes.book._seen


BAD: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "fewer features than codes": (
        {"model": {"codes": 900, "code_warm_up": 0}}, "model.codes=900: update 1 has",
    ),
    "a weight without codes": (
        {"model": {"codes": 0, "code_fusion": False}}, "criterion.code_weight=0.5: needs a codebook",
    ),
    "a weight below 0": ({"criterion": {"code_weight": -1}}, "criterion.code_weight=-1"),
    "codes without pictures": (
        {"criterion": {"alpha": 0}, "checkpoint": {"best_checkpoint_metric": "loss"}},
        "model.codes=6: needs pictures",
    ),
    "a seeding after the end": ({"model": {"code_warm_up": 7}}, "model.code_warm_up=7: must be less than"),
    "no temperature": ({"model": {"code_temperature": 0}}, "model.code_temperature=0"),
    "one code": ({"model": {"codes": 1}}, "model.codes=1: must be 0"),
    "no decay at all": ({"model": {"code_decay": 1}}, "model.code_decay=1"),
    "no patience": ({"model": {"code_patience": 0}}, "model.code_patience=0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line(case: str, given: dict[str, Any], tmp_path: Path) -> None:
    keys, named = BAD[case]
    with pytest.raises(OneLineExit) as stopped:
        train(changed(given, **keys), tmp_path, method="dense")
    assert named in str(stopped.value)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("key", ["codes", "code_width"])
def test_a_checkpoints_codebook_of_another_shape_is_refused(
    key: str, given: dict[str, Any], trained: Path, tmp_path: Path
) -> None:
    start = changed(given, model={key: 5, "w2v_path": str(trained / "checkpoint_last.pt")})
    with pytest.raises(OneLineExit) as stopped:
        train(start, tmp_path, method="dense")
    assert "grounded.codes." in str(stopped.value)
    assert "has the shape" in str(stopped.value)
    with pytest.raises(OneLineExit) as stopped:
        train(changed(given, model={key: 5}), trained, method="parp", sparsity=0.5, interval=3)
    was = CODES["model"][key]
    assert f"model.{key}: the checkpoint was trained with {was}, this command asks for 5" in str(stopped.value)
