"""Tasks beside ``parp_finetuning``, each with two methods: exact zeros, and a resume to the last bit."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled
import other_tasks
import pytest
import small
import texts
import tiny
from comparing import differences
from in_process import require_exact_zeros, state_of, train
from omegaconf import OmegaConf

from fairseq_parp.mask_files.report import report
from fairseq_parp.plugin import load_plugin


def utterances(folder: Path) -> str:
    """Tones with labels, and a config of their classification."""
    data, pretrained = labelled.make_data(folder, {"train": 9, "valid": 4}), tiny.make_pretrained(folder / "p.pt")
    return OmegaConf.to_yaml(OmegaConf.create(labelled.recipe(data, pretrained, 8) | {"hydra": {}}))


def text(folder: Path) -> str:
    """Texts with labels, and the config of their classification."""
    recipe = OmegaConf.create(other_tasks.COMMON)
    recipe.task = texts.task(texts.make_data(folder, {"train": 21, "valid": 5}))
    recipe.update(dataset={"num_workers": 0, "batch_size": 6}, criterion={"_name": "sentence_prediction"})
    recipe.model = texts.MODEL
    return OmegaConf.to_yaml(recipe)


DATA: dict[str, Callable[[Path], str]] = {
    "parp_audio_classification": utterances,
    "parp_sentence_prediction": text,
    "pruned_pretraining": other_tasks.speech,
    "pruned_translation": other_tasks.translation,
    "pruned_language_modeling": other_tasks.language_modelling,
    "grounded_pretraining": small.recipe,
}
"""What writes a task's data and returns its config."""

SCOPES = {"pruned_language_modeling": [r"decoder\.layers\.\d+\.(self_attn\.\w+|fc1|fc2)\.weight"]}
"""Expressions for models of which the scope ``paper`` finds nothing."""


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the config of each task, by its name; the tasks are registered in this process."""
    from fairseq.utils import import_user_module

    load_plugin()
    user_dir = other_tasks.make_user_dir(tmp_path_factory.mktemp("user") / "contract_tasks")
    import_user_module(Namespace(user_dir=str(user_dir)))
    made = {}
    for task, write in DATA.items():
        recipe = OmegaConf.create(write(tmp_path_factory.mktemp(task)))
        del recipe["hydra"]
        recipe.common.update(user_dir=str(user_dir), log_format="none")
        made[task] = OmegaConf.to_container(recipe)
    return made


def test_no_task_is_left_out(recipes: dict[str, dict[str, Any]]) -> None:
    from fairseq.tasks import TASK_REGISTRY

    from fairseq_parp.training.life_cycle import PruningLifeCycle

    pruned = {name for name, task in TASK_REGISTRY.items() if issubclass(task, PruningLifeCycle)}
    assert pruned == {"parp_finetuning", *recipes}, "parp_finetuning is in test_methods.py, with every method"


@pytest.mark.parametrize("task", DATA)
@pytest.mark.parametrize("method", ["parp", "rigl"])
def test_exact_zeros_and_a_resume_to_the_last_bit(
    task: str, method: str, recipes: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    keys = {"method": method, "sparsity": 0.5, "interval": 2, "scope": SCOPES.get(task, "paper")}
    recipe = recipes[task] | {"task": {key: value for key, value in recipes[task]["task"].items() if key != "pruning"}}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(recipe, straight, **keys)
    train(recipe, broken, stop_after=5, **keys)
    assert not list(broken.glob("*_6.pt"))
    train(recipe, broken, **keys)
    assert differences(*(state_of(folder / "checkpoint_last.pt") for folder in (straight, broken))) == []
    require_exact_zeros(straight, keys)
    model, entry, _ = state_of(straight / "checkpoint_last.pt")
    zeros = sum(int((model[name] == 0).sum()) for name in entry["pruning"]["mask"])
    assert report(straight / "checkpoint_last.pt").prunable.zeros == zeros


@pytest.mark.parametrize("adapters", [{"kind": "head_only"}, {"kind": "lora", "rank": 2}], ids=["head_only", "lora"])
def test_the_head_of_a_text_classifier_trains_under_adapters_and_that_of_its_pretraining_does_not_count(
    adapters: dict[str, Any], recipes: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    recipe = recipes["parp_sentence_prediction"]
    task = {key: value for key, value in recipe["task"].items() if key != "pruning"}
    short = recipe | {"optimization": recipe["optimization"] | {"max_update": 2}}
    train(short | {"task": task | {"adapters": adapters}}, tmp_path, method="dense")
    model, entry, optimizer = state_of(tmp_path / "checkpoint_last.pt")
    assert any(name.startswith("encoder.lm_head.") for name in model)
    head = sum(each.numel() for name, each in model.items() if name.startswith("classification_heads."))
    trained = entry["adapters"]["trained"]
    assert (trained["head"], "adapters" in trained) == (head, adapters["kind"] == "lora")
    assert sum(trained.values()) == sum(each["exp_avg"].numel() for each in optimizer["state"].values())
