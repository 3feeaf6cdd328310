"""Finetuning from an imported encoder: fairseq's original and what transformers made of it train alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from in_process import speech, state_of, train

from fairseq_parp import checkpoints
from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder

UPDATES = 6


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pretrained checkpoint of fairseq's, and the same encoder after transformers had it.

    It has no quantizer: random numbers drawn for one would give the new head others, as another seed does.
    """
    folder = tmp_path_factory.mktemp("encoders")
    original = tiny.make_pretrained(folder / "original.pt", {"quantize_targets": False, "final_dim": 0})
    export(original, "transformers", folder / "theirs")
    import_folder(folder / "theirs", folder / "imported.pt", normalize=False)
    return {"original": original, "imported": folder / "imported.pt"}


def recipe(data: Path, encoder: Path, **model: Any) -> dict[str, Any]:
    groups = speech(data, encoder)
    groups["model"] |= {"attention_dropout": 0.1, "activation_dropout": 0.2, "feature_grad_mult": 0.0, **model}
    groups["optimization"] |= {"max_update": UPDATES}
    return groups


def test_six_updates_are_equal_bit_for_bit(encoders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    """Dropout, layerdrop, masking and the frozen convolutions are the recipe's in both."""
    models = {}
    for name, encoder in encoders.items():
        train(recipe(data, encoder), tmp_path / name, sparsity=0.5, interval=2)
        models[name] = state_of(tmp_path / name / "checkpoint_last.pt")[0]
    original, imported = models.values()
    assert original.keys() == imported.keys()
    for name, value in original.items():
        assert value.equal(imported[name]), name
    start = checkpoints.read(encoders["original"])["model"]
    for name, value in start.items():
        if name.startswith("feature_extractor."):
            assert original[f"w2v_encoder.w2v_model.{name}"].equal(value), f"{name} trained"


def test_a_recipe_reaches_an_encoder_that_names_none_of_its_keys(
    encoders: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    """Files of earlier fairseq lack keys of today."""
    state = checkpoints.read(encoders["original"])
    shape = {"_name", *tiny.MODEL}
    state["cfg"]["model"] = {key: value for key, value in state["cfg"]["model"].items() if key in shape}
    torch.save(state, tmp_path / "bare.pt")
    keys = {"dropout": 0.3, "attention_dropout": 0.4, "layerdrop": 0.5, "feature_grad_mult": 0.0, "mask_length": 4}
    train(recipe(data, tmp_path / "bare.pt", **keys), tmp_path / "run", sparsity=0.5)
    embedded = checkpoints.read(tmp_path / "run" / "checkpoint_last.pt")["cfg"]["model"]["w2v_args"]["model"]
    renamed = {"encoder_layerdrop" if key == "layerdrop" else key: value for key, value in keys.items()}
    assert {key: embedded[key] for key in renamed} == renamed
