"""Starts from a grounded checkpoint: of another branch, or with features by another encoder, they end in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import small
import tiny
import torch
from in_process import train
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from fairseq_parp import checkpoints
from fairseq_parp.errors import OneLineExit
from fairseq_parp.grounded.features import Features

Recipe = dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """The recipe of a short training, and its last checkpoint."""
    folder = tmp_path_factory.mktemp("started")
    recipe: Any = OmegaConf.create(small.recipe(folder))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 2
    made: Recipe = OmegaConf.to_container(recipe)  # type: ignore[assignment]
    train(made, folder / "run", method="dense")
    return made, folder / "run" / "checkpoint_last.pt"


def changed(recipe: Recipe, **groups: dict[str, Any]) -> Recipe:
    return recipe | {name: recipe[name] | keys for name, keys in groups.items()}


def by_another_encoder(data: Path) -> Path:
    """Write a corpus whose features have the same shape and are another encoder's; return its folder."""
    file = small.corpus(data) / "images.safetensors"
    ids = json.dumps(Features(file).ids)
    save_file(load_file(file), file, {"ids": ids, "encoder": "another"})
    return data


WAYS = {"w2v_path": "model", "finetune_from_model": "checkpoint"}
"""Groups of the keys that start from a checkpoint's weights."""

BRANCHES: dict[str, tuple[dict[str, Any], str]] = {
    "another audio head": ({"audio_head": "resdavenet"}, "grounded.audio.convolve."),
    "another number of layers": ({"image_layers": 2}, "grounded.image.blocks.1."),
    "no class vector": ({"cls_token": False}, "grounded.audio."),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BRANCHES)
def test_a_checkpoint_of_another_branch_is_refused(
    case: str, way: str, trained: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, start = trained
    keys, named = BRANCHES[case]
    recipe = changed(recipe, model=keys)
    with pytest.raises(OneLineExit) as stopped:
        train(changed(recipe, **{WAYS[way]: {way: str(start)}}), tmp_path, method="dense")
    assert "is of another shape or branch" in str(stopped.value)
    assert named in str(stopped.value)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.parametrize("way", WAYS)
def test_features_of_another_encoder_are_refused(way: str, trained: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, start = trained
    other = changed(recipe, task={"data": str(by_another_encoder(tmp_path / "data"))}, **{WAYS[way]: {way: str(start)}})
    with pytest.raises(OneLineExit) as stopped:
        train(other, tmp_path / "run", method="dense")
    assert "was trained on features by 'made up'; this run's are by 'another'" in str(stopped.value)


def test_a_run_does_not_go_on_with_another_branch_or_encoder(trained: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, _ = trained
    longer = changed(recipe, optimization={"max_update": 8})
    train(longer, tmp_path, stop_after=4, method="dense")
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    cases = [
        (changed(longer, model={"image_layers": 2}), "another shape or branch"),
        (changed(longer, task={"data": str(by_another_encoder(tmp_path / "data"))}), "by 'another'"),
    ]
    for other, named in cases:
        with pytest.raises(OneLineExit) as stopped:
            train(other, tmp_path, method="dense")
        assert named in str(stopped.value)
        assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


def test_a_codebook_and_the_loss_of_speech_may_be_added_to_the_same_branches(
    trained: tuple[Recipe, Path], tmp_path: Path
) -> None:
    recipe, start = trained
    codes = {"codes": 4, "code_width": 8, "code_warm_up": 0, "w2v_path": str(start)}
    more = changed(recipe, model=codes, criterion={"code_weight": 0.5}, optimization={"lr": [0.0]})
    train(more, tmp_path, method="dense")
    before, after = (checkpoints.read(file)["model"] for file in (start, tmp_path / "checkpoint_last.pt"))
    same = [name for name, value in before.items() if value.is_floating_point()]
    assert [name for name in same if not torch.equal(before[name], after[name])] == []
    assert {name.split(".")[1] for name in set(after) - set(before)} == {"codes"}
