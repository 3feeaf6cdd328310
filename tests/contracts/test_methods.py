"""What must hold of every registered method. A method that joins the registry is tested by being there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from comparing import differences
from in_process import require_exact_zeros, speech, state_of, train

from fairseq_parp.errors import OneLineExit
from fairseq_parp.sparsity import METHODS, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.methods import build_method

Recipe = dict[str, Any]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("contracts")
    data = tiny.make_corpus(folder / "data", {"train": 9, "valid": 3})
    return speech(data, tiny.make_pretrained(folder / "pretrained.pt"))


@pytest.fixture(scope="module")
def keys_of(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Any:
    """Return the keys of ``task.pruning`` that a method is tested with."""
    from fairseq_parp.mask_files.making import make_mask

    file = tmp_path_factory.mktemp("mask") / "mask.safetensors"
    make_mask(recipe["model"]["w2v_path"], 0.5, "random").save(file)

    def keys(method: str) -> dict[str, Any]:
        own = {"mask": str(file)} if method == "fixed" else {}
        return {"method": method, "sparsity": 0.5, "interval": 2, **own}

    return keys


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, keys_of: Any) -> Any:
    """Return the folder of a method's training that nothing stopped."""
    done: dict[str, Path] = {}

    def folder(method: str) -> Path:
        if method not in done:
            done[method] = tmp_path_factory.mktemp(method)
            train(recipe, done[method], **keys_of(method))
        return done[method]

    return folder


@pytest.mark.parametrize("method", METHODS)
def test_every_file_has_exactly_the_zeros_of_its_target(method: str, straight: Any, keys_of: Any) -> None:
    require_exact_zeros(straight(method), keys_of(method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [5, 7])
def test_a_stopped_training_goes_on_to_the_last_bit(
    method: str, stop: int, recipe: Recipe, keys_of: Any, straight: Any, tmp_path: Path
) -> None:
    train(recipe, tmp_path, stop_after=stop, **keys_of(method))
    assert (tmp_path / "checkpoint_last.pt").is_file()
    train(recipe, tmp_path, **keys_of(method))
    ends = [state_of(folder / "checkpoint_last.pt") for folder in (tmp_path, straight(method))]
    assert differences(*ends) == []


@pytest.mark.parametrize("method", METHODS)
def test_the_stock_model_loads_it_strictly(method: str, straight: Any, recipe: Recipe) -> None:
    from fairseq import tasks
    from omegaconf import OmegaConf

    from fairseq_parp import checkpoints

    state = checkpoints.read(straight(method) / "checkpoint_last.pt")
    cfg = OmegaConf.create(state["cfg"])
    keys = {"_name": "audio_finetuning", "data": recipe["task"]["data"], "labels": "ltr", "normalize": False}
    task = tasks.setup_task(OmegaConf.create(keys))
    cfg.model._name = "wav2vec_ctc"
    model = task.build_model(cfg.model, from_checkpoint=True)
    model.load_state_dict(state["model"], strict=True)
    assert type(model).__name__ == "Wav2VecCtc"


@pytest.mark.parametrize("method", METHODS)
def test_another_methods_checkpoint_is_refused(
    method: str, straight: Any, recipe: Recipe, keys_of: Any, tmp_path: Path
) -> None:
    other = "dense" if method != "dense" else "parp"
    (tmp_path / "checkpoint_last.pt").write_bytes(next(straight(other).glob("checkpoint_*_3.pt")).read_bytes())
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    with pytest.raises(OneLineExit, match=rf"task\.pruning\.method: .*'{other}'.*'{method}'"):
        train(recipe, tmp_path, **keys_of(method))
    assert (tmp_path / "checkpoint_last.pt").read_bytes() == before


@pytest.mark.parametrize("method", ["parp", "rigl", "ste"])
def test_the_first_mask_is_logged_once(
    method: str, recipe: Recipe, keys_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = recipe | {"optimization": recipe["optimization"] | {"max_update": 4}}
    with caplog.at_level("INFO"):
        train(short, tmp_path, **keys_of(method))
    assert sum(record.message.startswith("first mask: ") for record in caplog.records) == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_transformer_keeps_its_pretrained_weights(
    method: str, recipe: Recipe, keys_of: Any, tmp_path: Path
) -> None:
    """Nothing but the method's zeros changes while ``model.freeze_finetune_updates`` freezes it."""
    frozen = recipe | {
        "model": recipe["model"] | {"freeze_finetune_updates": 9},
        "optimization": recipe["optimization"] | {"max_update": 5},
    }
    if METHODS[method].learns_scores:
        with pytest.raises(OneLineExit, match="the scores never train"):
            train(frozen, tmp_path, **keys_of(method))
        return
    train(frozen, tmp_path, **keys_of(method))
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    pretrained = torch.load(recipe["model"]["w2v_path"], weights_only=False)["model"]
    first, zeros = [], []
    for name in entry["pruning"]["mask"]:
        was, weight = pretrained[name.partition("w2v_model.")[2]], model[name]
        assert torch.equal(weight[weight != 0], was[weight != 0])
        zeros.append((weight == 0).flatten())
        first.append(was.abs().flatten())
    if METHODS[method].facts.grows:  # the mask of the pretrained weights' magnitudes, whatever the interval
        k = zero_count(0.5, sum(map(len, zeros)))
        dropped = torch.cat(first).sort(stable=True).indices[:k]
        assert set(torch.cat(zeros).nonzero().flatten().tolist()) == set(dropped.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_an_fp16_overflow_leaves_finite_weights_and_exact_zeros(
    method: str, recipe: Recipe, keys_of: Any, tmp_path: Path
) -> None:
    """A loss scale of 2**30 overflows until it has been halved often enough; each time the batch is lost."""
    fp16 = {"fp16": True, "fp16_no_flatten_grads": True, "fp16_init_scale": 2**30, "fp16_scale_tolerance": 0.0}
    half = recipe | {"common": recipe["common"] | fp16, "optimization": recipe["optimization"] | {"max_update": 3}}
    train(half, tmp_path, **keys_of(method))
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    assert entry["optimizer"]["scaler"]["_last_overflow_iter"] > 0
    masked = [model[name] for name in entry["pruning"]["mask"]]
    built = build_method(read_config(keys_of(method)), 3)
    k = zero_count(built.target(entry["pruning"]["pruned_at"]), sum(each.numel() for each in masked))
    zeros = sum(int((each == 0).sum()) for each in masked)
    assert zeros == k or not k or (built.facts.grows and zeros > k)
    assert all(bool(torch.isfinite(each).all()) for each in masked)
