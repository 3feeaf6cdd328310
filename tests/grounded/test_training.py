"""Real trainings of the task: what each alpha leaves, recall of the best checkpoint, the plain encoder, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import soundfile
import tiny
import torch
from comparing import differences
from in_process import require_exact_zeros, state_of, train
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from fairseq_parp import checkpoints
from fairseq_parp.errors import OneLineExit
from fairseq_parp.export.source import Source


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    recipe: Any = OmegaConf.create(small.recipe(tmp_path_factory.mktemp("grounded")))
    del recipe["hydra"]
    recipe.common.update(user_dir=str(tiny.PLUGIN), log_format="none")
    recipe.optimization.max_update = 3
    made: dict[str, Any] = OmegaConf.to_container(recipe)  # type: ignore[assignment]
    return made


def changed(given: dict[str, Any], **groups: dict[str, Any]) -> dict[str, Any]:
    return given | {name: given[name] | keys for name, keys in groups.items()}


def test_joint_training_logs_both_losses_and_the_best_checkpoint_is_that_of_recall(
    given: dict[str, Any], tmp_path: Path
) -> None:
    train(given, tmp_path, method="parp", sparsity=0.5, interval=2)
    state = checkpoints.read(tmp_path / "checkpoint_best.pt")
    meters = {name for _, name, *_ in state["extra_state"]["metrics"]["valid"]}
    assert meters >= {"loss", "loss_av", "loss_ssl", "contrastive", "diversity", "negatives"}
    assert 0 <= state["extra_state"]["best"] <= 100
    mask = next(each for each in state["extra_state"].values() if isinstance(each, dict) and "pruning" in each)
    assert not [name for name in mask["pruning"]["mask"] if "grounded" in name]
    source = Source.open(tmp_path / "checkpoint_best.pt")
    plain = {name for name in state["model"] if not name.startswith(("grounded", "encoder.cls"))}
    assert set(source.tensors) == plain
    assert all(torch.equal(source.tensors[name], state["model"][name]) for name in plain)
    maps = ("quantizer.weight_proj", "project_q", "final_proj")
    only_pretraining = {"quantizer.vars", *(f"{name}.{part}" for name in maps for part in ("weight", "bias"))}
    assert plain - set(source.model.state_dict()) == only_pretraining  # fairseq builds and loads the rest
    assert set(source.model.state_dict()) < plain


def test_pictures_alone_leave_an_encoder_of_the_shared_layers(given: dict[str, Any], tmp_path: Path) -> None:
    alone = changed(given, criterion={"alpha": 1.0}, model={"encoder_layerdrop": 0.0, "audio_head": "resdavenet"})
    train(alone, tmp_path, method="dense")
    state = checkpoints.read(tmp_path / "checkpoint_last.pt")
    assert not [name for name in state["model"] if name.startswith(("encoder.layers.2", "quantizer", "final_proj"))]
    source = Source.open(tmp_path / "checkpoint_last.pt")
    assert source.encoder.layers == 2
    assert all(
        torch.equal(source.tensors[name], value) for name, value in state["model"].items() if name in source.tensors
    )
    assert source.model.encoder.layers[1].fc1.weight.equal(state["model"]["encoder.layers.1.fc1.weight"])


def test_speech_alone_needs_no_pictures(given: dict[str, Any], tmp_path: Path) -> None:
    data = small.corpus(tmp_path / "data")
    for file in (*data.glob("*.img"), data / "images.safetensors"):
        file.unlink()
    checkpoint = {"best_checkpoint_metric": "loss", "maximize_best_checkpoint_metric": False}
    alone = changed(given, criterion={"alpha": 0.0}, task={"data": str(data)}, checkpoint=checkpoint)
    train(alone, tmp_path / "run", method="dense")
    assert not [
        n for n in checkpoints.read(tmp_path / "run" / "checkpoint_last.pt")["model"] if n.startswith("grounded")
    ]


def test_bf16_resumes_to_the_last_bit_with_exact_zeros_in_weights_and_masters(
    given: dict[str, Any], tmp_path: Path
) -> None:
    half = changed(given, common={"bf16": True}, optimization={"max_update": 8})
    keys: dict[str, Any] = {"method": "parp", "sparsity": 0.5, "interval": 2}
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(half, straight, **keys)
    train(half, broken, stop_after=5, **keys)
    assert not list(broken.glob("*_6.pt"))
    train(half, broken, **keys)
    one, other = (state_of(folder / "checkpoint_last.pt") for folder in (straight, broken))
    assert differences(one, other) == []
    require_exact_zeros(straight, keys)
    weights, entry, _ = one
    masters = entry["optimizer"]["masters"]
    assert len(masters) == len([name for name, each in weights.items() if each.is_floating_point()])
    assert all(torch.isfinite(each).all() for each in masters)
    valid = {name: meter for _, name, _, meter in
             checkpoints.read(straight / "checkpoint_last.pt")["extra_state"]["metrics"]["valid"]}  # fmt: skip
    assert np.isfinite([valid[name]["val"] for name in ("loss_av", "loss_ssl")]).all()
    assert checkpoints.read(straight / "checkpoint_best.pt")["extra_state"]["best"] > 0


STEPS = [[0, 0.0], [2, 0.5], [4, 1.0]]


@pytest.fixture(scope="module")
def scheduled(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    recipe = changed(
        given,
        criterion={"alpha": STEPS},
        optimization={"max_update": 8},
        optimizer={"weight_decay": 0.1},
        checkpoint={"save_interval_updates": 2},
    )
    folder = tmp_path_factory.mktemp("scheduled")
    train(recipe, folder, method="dense")
    return recipe, folder


def test_a_schedule_of_alpha_resumes_to_the_last_bit_across_its_changes(
    scheduled: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, straight = scheduled
    train(recipe, tmp_path, stop_after=3, method="dense")
    assert [file.name for file in tmp_path.glob("checkpoint_?_?.pt")] == ["checkpoint_1_2.pt"]
    unfinished = str(tmp_path / "checkpoint_last.pt")
    for key in ({"checkpoint": {"finetune_from_model": unfinished}}, {"model": {"w2v_path": unfinished}}):
        with pytest.raises(OneLineExit, match=r"has not finished: 2 updates, optimization\.max_update=8"):
            train(changed(recipe, **key), tmp_path / "next", method="dense")
    train(recipe, tmp_path, method="dense")
    assert differences(*(state_of(folder / "checkpoint_last.pt") for folder in (tmp_path, straight))) == []


def test_a_schedule_trains_what_its_alpha_has_a_weight_for_and_validates_all(
    scheduled: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    recipe, folder = scheduled
    second, fourth, last = (folder / f"checkpoint_{name}.pt" for name in ("1_2", "2_4", "last"))
    alone = changed(
        recipe,
        criterion={"alpha": 0},
        optimization={"max_update": 2},
        model=recipe["model"] | {"untrained_parts": True},
    )
    train(alone, tmp_path, method="dense")
    before, after, end = (checkpoints.read(file)["model"] for file in (second, fourth, last))
    assert differences(before, checkpoints.read(tmp_path / "checkpoint_last.pt")["model"]) == []
    assert [n for n in after if n.startswith("grounded.image") and not torch.equal(before[n], after[n])]
    still = [name for name in end if name.startswith(("encoder.layers.2.", "quantizer", "final_proj", "mask_emb"))]
    assert [name for name in still if not torch.equal(after[name], end[name])] == []
    assert [name for name in still if not torch.equal(before[name], after[name])] != []
    for file, alpha in ((second, 0), (fourth, 0.5), (last, 1)):
        meters = {name: meter for _, name, _, meter in checkpoints.read(file)["extra_state"]["metrics"]["valid"]}
        assert meters["alpha"]["val"] == alpha
        assert meters.keys() >= {"loss_av", "loss_ssl", "accuracy", "negatives"}


def _without(name: str) -> Callable[[Path], None]:
    return lambda data: (data / name).unlink()


def _unknown(data: Path) -> None:
    file = data / "train.img"
    file.write_text(file.read_text().replace("picture2", "nothing"))


def _shorter(data: Path) -> None:
    file = data / "train.img"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


def _one_picture(data: Path) -> None:
    file = data / "valid.img"
    file.write_text("picture1\n" * len(file.read_text().splitlines()))


def _not_a_number(data: Path) -> None:
    from fairseq_parp.grounded.features import Features

    features, tensors = Features(data / "images.safetensors"), load_file(data / "images.safetensors")
    tensors["features"][2, 0, 0] = np.nan
    import json

    save_file(tensors, data / "images.safetensors", {"ids": json.dumps(features.ids), "encoder": "made up"})


def _of_samples(samples: int) -> Callable[[Path], None]:
    """Return what cuts every utterance of the training to so many samples."""

    def cut(data: Path) -> None:
        root, *lines = (data / "train.tsv").read_text().splitlines()
        names = [line.split("\t")[0] for line in lines]
        for name in names:
            waves, rate = soundfile.read(Path(root, name))
            soundfile.write(Path(root, name), waves[:samples], rate)
        (data / "train.tsv").write_text("\n".join([root, *(f"{name}\t{samples}" for name in names), ""]))

    return cut


def _folder_of_features(data: Path) -> None:
    (data / "images.safetensors").unlink()
    (data / "images.safetensors").mkdir()


BAD: dict[str, tuple[Callable[[Path], object], dict[str, dict[str, Any]], tuple[str, ...]]] = {
    "audio alone": (_without("train.img"), {}, ("train.img", "captions alone", "alpha=0")),
    "no features": (_without("images.safetensors"), {}, ("images.safetensors", "no such file", "images embed")),
    "an utterance that mask spans may cover": (
        _of_samples(1999), {}, ("train.tsv:2", "1999 samples, the model needs 2000", "task.min_sample_size=2000"),
    ),
    "ids without a picture": (_unknown, {}, ("train.img", "line 3 ('nothing')", "no features")),
    "lines that do not line up": (_shorter, {}, ("train.img", "has 13 lines", "train.tsv has 14")),
    "a gallery with one picture": (_one_picture, {}, ("valid.img", "shows 1 picture")),
    "features that are no numbers": (_not_a_number, {}, ("picture2", "NaN or infinite")),
    "features of another size": (lambda _: None, {"model": {"image_width": 9}}, ("model.image_width=9", "has 6")),
    "another encoder": (lambda _: None, {"task": {"image_encoder": "other"}}, ("task.image_encoder", "by made up")),
    "another alpha": (lambda _: None, {"model": {"alpha": 0.3}}, ("model.alpha=0.3", "criterion.alpha=0.5")),
    "another alpha than a schedule": (
        lambda _: None,
        {"model": {"alpha": 0.3}, "criterion": {"alpha": [[0, 0], [2, 0.5]]}},
        ("model.alpha=0.3", "criterion.alpha=[[0, 0], [2, 0.5]]"),
    ),
    "a margin that is no number": (
        lambda _: None, {"criterion": {"margin": float("nan")}}, ("criterion.margin=nan", "must be a number"),
    ),
    "a weight below 0": (
        lambda _: None, {"criterion": {"diversity": -0.1}}, ("criterion.diversity=-0.1", "0 or more"),
    ),
    "a cut that leaves no frame": (
        lambda _: None, {"task": {"max_sample_size": 100}}, ("task.max_sample_size=100", "or more: the model needs"),
    ),
    "a folder of features": (_folder_of_features, {}, ("images.safetensors: a folder", "images embed")),
    "a schedule that goes back": (
        lambda _: None, {"criterion": {"alpha": [[0, 0], [2, 0.5], [1, 1]]}}, ("criterion.alpha", "update 1 follows 2"),
    ),
    "a step after the end": (
        lambda _: None, {"criterion": {"alpha": [[0, 0], [3, 0.5]]}}, ("changes at update 3", "max_update=3"),
    ),
    "a best loss whose meaning changes": (
        lambda _: None,
        {"criterion": {"alpha": [[0, 0], [1, 0.5]]}, "checkpoint": {"best_checkpoint_metric": "loss"}},
        ("best_checkpoint_metric='loss'", "loss_ssl or recall_10"),
    ),
    "ranks that wait for all gradients": (
        lambda _: None,
        {
            "criterion": {"alpha": [[0, 0], [1, 0.5]]},
            "distributed_training": {"ddp_backend": "pytorch_ddp", "distributed_world_size": 2},
        },
        ("ddp_backend='pytorch_ddp'", "legacy_ddp"),
    ),
    "a batch of one": (lambda _: None, {"dataset": {"batch_size": 1}}, ("dataset.batch_size=1", "2 or more")),
    "batches by length": (lambda _: None, {"dataset": {"max_tokens": 9000}}, ("dataset.max_tokens=9000", "left out")),
    "a metric that is none": (
        lambda _: None, {"checkpoint": {"best_checkpoint_metric": "recall_3"}}, ("best_checkpoint_metric", "recall_10"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_ends_in_one_line(case: str, given: dict[str, Any], tmp_path: Path) -> None:
    spoil, keys, named = BAD[case]
    data = small.corpus(tmp_path / "data")
    spoil(data)
    asked = changed(given, **{"task": {}, **keys})
    asked["task"] = asked["task"] | {"data": str(data)}
    with pytest.raises(OneLineExit) as stopped:
        train(asked, tmp_path / "run", method="dense")
    assert all(part in str(stopped.value) for part in named), str(stopped.value)


def test_utterances_of_the_fewest_samples_are_masked_at_every_update(given: dict[str, Any], tmp_path: Path) -> None:
    data = small.corpus(tmp_path / "data")
    _of_samples(2000)(data)
    train(changed(given, task={"data": str(data)}), tmp_path / "run", method="dense")
    state = checkpoints.read(tmp_path / "run/checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 3


@pytest.mark.parametrize(
    ("group", "other", "line"),
    [
        ("model", tiny.MODEL | {"_name": "wav2vec2"}, "model._name='wav2vec2': must be grounded_wav2vec2"),
        ("criterion", {"_name": "wav2vec"}, "criterion._name='wav2vec': must be grounded"),
    ],
)
def test_another_model_or_criterion_is_refused(
    group: str, other: dict[str, Any], line: str, given: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(OneLineExit) as stopped:
        train(given | {group: other}, tmp_path / "run", method="dense")
    assert line in str(stopped.value)
    assert not list((tmp_path / "run").glob("*.pt"))


def test_images_follow_the_utterances_that_fairseq_drops_and_audio_is_cut_from_its_start(tmp_path: Path) -> None:
    from fairseq_parp.grounded.captions import rows_of
    from fairseq_parp.grounded.features import Features
    from fairseq_parp.training.captioned import Captioned, EveryCaption, FromStart

    data = small.corpus(tmp_path / "data")
    frames = [int(line.split("\t")[1]) for line in (data / "train.tsv").read_text().splitlines()[1:]]
    least = sorted(frames)[4]
    audio = FromStart(str(data / "train.tsv"), 9000, sample_rate=16000, min_sample_size=least, normalize=True)
    features = Features(data / "images.safetensors")
    rows = rows_of(data / "train.tsv", audio.lines, features, audio.skipped_indices)
    kept = [place % small.PICTURES for place, size in enumerate(frames) if size >= least]
    assert [features.ids[row] for row in rows] == [f"picture{number}" for number in kept]
    every = EveryCaption(Captioned(audio, features, rows))
    batch = every.collater([every[index] for index in range(len(every))])
    assert batch["image_ids"].tolist() == rows.tolist()
    assert batch["net_input"]["source"].shape == (10, 9000)
    whole = FromStart(str(data / "train.tsv"), None, sample_rate=16000, min_sample_size=least, normalize=False)
    start = whole[0]["source"][:9000]
    expected = (start - start.mean()) / start.std(correction=0)
    torch.testing.assert_close(batch["net_input"]["source"][0, : len(expected)], expected, rtol=1e-3, atol=1e-3)
    sizes = [len(each) for each in every.batch_by_size(np.arange(10), None, 3, 1)]
    assert sizes == [3, 3, 2, 2]
