"""What must hold of every kind of ``task.adapters``, through fairseq's own training, and of kinds with pruning."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import tiny
import torch
from comparing import differences
from in_process import speech, state_of, train
from safetensors.torch import load_file

from fairseq_parp import checkpoints, cli
from fairseq_parp.adapters import KINDS, merged
from fairseq_parp.architectures import is_adapter
from fairseq_parp.cli.report import render
from fairseq_parp.errors import OneLineExit
from fairseq_parp.mask_files.report import report
from fairseq_parp.sparsity.methods import METHODS
from fairseq_parp.transcription.loading import load_finetuned

Recipe = dict[str, Any]

KEYS: dict[str, dict[str, Any]] = {
    "full": {},
    "bottleneck": {"width": 4, "layers": 2},
    "lora": {"rank": 2, "maps": ["q", "v", "fc2"], "dropout": 0.1},
    "bitfit": {},
    "head_only": {},
    "only": {"train": ["head", "mask_emb", "norms"]},
    "top_n": {"layers": [2]},
}

TRAINED = {
    "full": r".*",
    "bottleneck": r".*layers\.[12]\.(self_attn|fc2)\.adapter\..*|.*layers\.\d\.\w*layer_norm\..*|w2v_encoder\.proj\..*",
    "lora": r".*lora\.(up|down)|w2v_encoder\.proj\..*",
    "bitfit": r".*encoder\.layers\..*bias|w2v_encoder\.proj\..*",
    "head_only": r"w2v_encoder\.proj\..*",
    "only": r"w2v_encoder\.proj\..*|.*\.mask_emb|.*layers\.\d\.\w*layer_norm\..*",
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
    assert count == sum(each["exp_avg"].numel() for each in optimizer["state"].values())
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


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tiny.Commands]:
    server = tiny.Commands(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


def strengthened(file: Path, saved: Path) -> Path:
    """Save the checkpoint with adapters that change much and a head that spells many letters.

    A command that leaves out the adapters then gives other text.
    """
    state = torch.load(file, weights_only=False)
    chance = torch.Generator().manual_seed(2)
    for name, value in state["model"].items():
        if re.search(r"\.(adapter\.up\.weight|lora\.up)$|encoder\.proj\.weight", name):
            value.copy_(torch.randn(value.shape, generator=chance))
    state["model"]["w2v_encoder.proj.bias"][:4] = -100  # the blank and symbols that no text has
    torch.save(state, saved)
    return saved


@torch.no_grad()
def best_path(model: Any, audio: Path) -> tuple[list[int], float]:
    source = torch.from_numpy(soundfile.read(audio, dtype="float32")[0])[None]
    output = model(source=source, padding_mask=None)
    best = model.get_normalized_probs(output, log_probs=True)[:, 0].max(-1)
    return best.indices.unique_consecutive().tolist(), best.values.sum().item() / math.log(2)


@pytest.mark.parametrize("kind", ["bottleneck", "lora"])
def test_the_commands_decode_with_the_adapters(
    kind: str,
    straight: Any,
    recipe: Recipe,
    commands: tiny.Commands,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = strengthened(straight(kind) / "checkpoint_last.pt", tmp_path / "strong.pt")
    data = Path(recipe["task"]["data"])
    commands.generate(data, file, tmp_path, "--beam", "1", "--gen-subset", "valid")
    lines = (tmp_path / "generate-valid.txt").read_text().splitlines()
    found = {each[0]: each[1:] for each in (line.split("\t") for line in lines if line.startswith("H-"))}
    loaded = load_finetuned(file)
    without = {name: value for name, value in loaded.model.state_dict().items() if not is_adapter(name)}
    plain = load_finetuned(straight("head_only") / "checkpoint_last.pt").model
    plain.load_state_dict(without, strict=True)
    audio = [data / f"valid-{number}.flac" for number in range(3)]
    for number, each in enumerate(audio):
        symbols, score = best_path(loaded.model, each)
        text = loaded.dictionary.string(torch.tensor([one for one in symbols if one]), "letter")
        assert found[f"H-{number}"][1] == text
        assert math.isclose(float(found[f"H-{number}"][0]), score, rel_tol=1e-4)
        assert best_path(plain, each)[0] != symbols
    assert cli.main(["transcribe", str(file), *map(str, audio)]) == 0
    shown = capsys.readouterr().out.splitlines()
    words = [found[f"H-{number}"][1].split() for number in range(3)]
    assert all(words)
    assert [line.partition("\t")[2].split() for line in shown] == words


@pytest.mark.parametrize("target", ["fairseq", "transformers"])
def test_lora_is_exported_merged(
    target: str, straight: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = strengthened(straight("lora") / "checkpoint_last.pt", tmp_path / "strong.pt")
    assert cli.main(["export", str(file), "--to", target, "--out", str(tmp_path / "out")]) == 0
    assert "padded batch" in capsys.readouterr().out
    wanted = merged(str(file), checkpoints.read(file)["model"])
    if target == "fairseq":
        (exported,) = (tmp_path / "out").glob("*.pt")
        tensors = torch.load(exported, weights_only=False)["model"]
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    else:
        tensors = load_file(tmp_path / "out" / "model.safetensors")
        assert not [name for name in tensors if "lora" in name]
        ours = "w2v_encoder.w2v_model.encoder.layers.1.self_attn.q_proj.weight"
        assert torch.equal(tensors["wav2vec2.encoder.layers.1.attention.q_proj.weight"], wanted[ours])
        assert not torch.equal(wanted[ours], checkpoints.read(file)["model"][ours])


@pytest.mark.parametrize("target", ["fairseq", "onnx", "transformers"])
def test_bottleneck_adapters_are_not_exported(
    target: str, straight: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = straight("bottleneck") / "checkpoint_last.pt"
    assert cli.main(["export", str(file), "--to", target, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err.strip().splitlines()[-1]  # after the lines of progress
    assert re.fullmatch(r".*checkpoint_last\.pt.* has adapters \(.*adapter.*\), which are nonlinear .*", shown)
    assert not (tmp_path / "out").exists()


def test_the_log_names_what_trains(recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fairseq_parp"):
        train(with_kind(recipe, "bottleneck"), tmp_path, method="dense")
    _, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    lines = [each.getMessage() for each in caplog.records if each.getMessage().startswith("trained (")]
    trained, size = entry["adapters"]["trained"], entry["adapters"]["size"]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in trained.items())
    count = sum(trained.values())
    assert lines == [f"trained (bottleneck): {count:,} of {size:,} parameters ({100 * count / size:.3f} %): {kinds}"]
    assert trained.keys() == {"adapters", "norms", "head"}


def test_parp_with_a_trained_base_prunes_and_moves_it(recipe: Recipe, tmp_path: Path) -> None:
    pruned = with_kind(recipe, "bottleneck", base="trained")
    train(pruned, tmp_path, method="parp", sparsity=0.5, interval=2)
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    mask = entry["pruning"]["mask"]
    assert sum(int((model[name] == 0).sum()) for name in mask) == sum(model[name].numel() for name in mask) // 2
    assert not any(map(is_adapter, mask))
    assert entry["adapters"]["trained"].keys() == {"adapters", "norms", "layers", "mask_emb", "encoder", "head"}
    before = checkpoints.read(recipe["model"]["w2v_path"])["model"]
    for name in mask:
        kept = model[name] != 0
        assert name.endswith("bias") or not torch.equal(
            model[name][kept], before[name.removeprefix("w2v_encoder.w2v_model.")][kept]
        ), name
    ups = [value for name, value in model.items() if name.endswith("adapter.up.weight")]
    assert len(ups) == 4
    assert all(each.any() for each in ups)


@pytest.mark.parametrize("method", ["gmp", "parp"])
def test_a_frozen_base_is_pruned_by_magnitude_and_does_not_move(method: str, recipe: Recipe, tmp_path: Path) -> None:
    train(with_kind(recipe, "bottleneck"), tmp_path, method=method, sparsity=0.5, interval=2)
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    before = checkpoints.read(recipe["model"]["w2v_path"])["model"]
    mask = entry["pruning"]["mask"]
    assert sum(int((model[name] == 0).sum()) for name in mask) == sum(model[name].numel() for name in mask) // 2
    for name in mask:
        kept, old = model[name] != 0, before[name.removeprefix("w2v_encoder.w2v_model.")]
        assert torch.equal(model[name][kept], old[kept]), name


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].facts.grows])
def test_a_method_that_grows_weights_is_refused_on_a_frozen_base(method: str, recipe: Recipe, tmp_path: Path) -> None:
    """A frozen weight that is grown would stay zero."""
    with pytest.raises(
        OneLineExit, match=rf"task\.pruning\.method='{method}': grows weights from zero, and task\.adapters"
    ):
        train(with_kind(recipe, "bottleneck"), tmp_path, method=method, sparsity=0.5, interval=2)


@pytest.mark.parametrize("kind", ["only", "bottleneck"])
def test_learned_scores_train_beside_what_a_kind_trains(kind: str, recipe: Recipe, tmp_path: Path) -> None:
    """Of the scored weights only zeros and the pretrained values are seen; nothing else that is frozen moves."""
    learned = {"method": "s3_router", "sparsity": 0.5, "scope": "ffn", "score_lr_scale": 8}
    train(with_kind(recipe, kind), tmp_path, **learned)
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    before = checkpoints.read(recipe["model"]["w2v_path"])["model"]
    scores = entry["pruning"]["method"]["scores"]
    assert len(scores) == 6
    assert entry["adapters"]["trained"]["scores"] == sum(each.numel() for each in scores.values())
    for name, weight in model.items():
        old = before.get(name.removeprefix("w2v_encoder.w2v_model."))
        if name in scores:
            assert int((weight == 0).sum()) == weight.numel() // 2, name
            assert torch.equal(weight, old * (weight != 0)), name
        elif old is not None:
            assert torch.equal(weight, old) or re.fullmatch(TRAINED[kind], name), name
    kept = {name: model[name] != 0 for name in scores}
    first = {name: magnitudes(before[name.removeprefix("w2v_encoder.w2v_model.")]) for name in scores}
    assert any(not torch.equal(kept[name], first[name]) for name in scores), "the masks are those of the start"


def magnitudes(weight: torch.Tensor) -> torch.Tensor:
    """Return the mask of the larger half of the magnitudes."""
    return weight.abs() > weight.abs().flatten().kthvalue(weight.numel() // 2).values


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"train": ["bias"]}, "task.adapters.train=('bias',): must be among head, mask_emb, norms, biases"),
        ({"train": []}, "task.adapters.kind='only': nothing trains: no part that it names is in the model"),
    ],
)
def test_parts_that_do_not_fit(keys: dict[str, Any], line: str, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(OneLineExit, match=re.escape(line)):
        train(with_kind(recipe, "only", **keys), tmp_path, method="dense")


def test_scores_alone_train_and_scores_that_never_would_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    alone = with_kind(recipe, "only", train=[])
    train(alone, tmp_path / "alone", method="s3_router", sparsity=0.5)
    assert state_of(tmp_path / "alone" / "checkpoint_last.pt")[1]["adapters"]["trained"].keys() == {"scores"}
    frozen = recipe | {"model": recipe["model"] | {"freeze_finetune_updates": 1000}}
    with pytest.raises(OneLineExit, match=r"model\.freeze_finetune_updates=1000: the scores never train"):
        train(frozen, tmp_path / "frozen", method="s3_router", sparsity=0.5)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [("bottleneck", "norms and adapters"), ("lora", "adapters"), ("bitfit", "layers and norms"), ("top_n", "layers")],
)
def test_what_is_frozen_throughout_never_trains_and_is_refused(
    kind: str, inside: str, recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """``freeze_finetune_updates`` computes the whole encoder without gradients, adapters included."""
    frozen = with_kind(recipe, kind)
    frozen["model"] = recipe["model"] | {"freeze_finetune_updates": 1000}
    with pytest.raises(OneLineExit, match=rf"model\.freeze_finetune_updates=1000: the {inside}.* never train: must be"):
        train(frozen, tmp_path / "never", method="dense")
    frozen["model"]["freeze_finetune_updates"] = 1
    frozen["optimization"] = recipe["optimization"] | {"max_update": 2}
    train(frozen, tmp_path / "late", method="dense")
    assert re.search(rf"freeze_finetune_updates=1: the {inside}.* do not train for 1 updates", caplog.text)


@pytest.mark.parametrize("method", ["parp", "ste"])
def test_a_method_that_adjusts_warns_of_weights_that_are_frozen(
    method: str, recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = with_kind(recipe, "head_only") | {"optimization": recipe["optimization"] | {"max_update": 1}}
    train(short, tmp_path / method, method=method, sparsity=0.5)
    assert "task.adapters.kind=head_only freezes w2v_encoder.w2v_model.encoder.layers.0" in caplog.text
    assert "has nothing to adjust there" in caplog.text
    caplog.clear()
    train(short, tmp_path / "mpi", method="mpi", sparsity=0.5)
    assert "nothing to adjust" not in caplog.text


@pytest.mark.parametrize("multiple", [0.0, 1.0])
def test_convolutions_that_fairseq_freezes_do_not_count_as_trained(
    multiple: float, recipe: Recipe, tmp_path: Path
) -> None:
    """``feature_grad_mult=0``, as in every recipe: the counts are those of what changes, or could have."""
    short = recipe | {
        "model": recipe["model"] | {"feature_grad_mult": multiple},
        "optimization": recipe["optimization"] | {"max_update": 2},
    }
    train(short, tmp_path, method="dense")
    model, entry, optimizer = state_of(tmp_path / "checkpoint_last.pt")
    convolutions = sum(each.numel() for name, each in model.items() if ".feature_extractor." in name)
    assert convolutions > 0
    assert entry["adapters"]["size"] - sum(entry["adapters"]["trained"].values()) == convolutions * (multiple == 0)
    stepped = sum(each["exp_avg"].numel() for each in optimizer["state"].values())
    assert stepped == sum(entry["adapters"]["trained"].values())
    if multiple == 0:
        with pytest.raises(
            OneLineExit, match=r"scope='.*conv_layers.*': its scores never train: model\.feature_grad_m"
        ):
            train(short, tmp_path / "scored", method="s3_router", sparsity=0.5, scope=[r".*conv_layers\.1.*weight"])


def test_a_scope_that_changed_is_named_on_resuming_although_the_optimizer_does_not_fit_either(
    recipe: Recipe, tmp_path: Path
) -> None:
    train(with_kind(recipe, "only"), tmp_path, stop_after=4, method="s3_router", sparsity=0.5)
    with pytest.raises(OneLineExit, match=r"task\.pruning\.scope: the checkpoint was trained with 'paper', .*'ffn'"):
        train(with_kind(recipe, "only"), tmp_path, method="s3_router", sparsity=0.5, scope="ffn")


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


@pytest.mark.parametrize("base", ["frozen", "trained"])
def test_parp_of_an_adapted_model(base: str, straight: Any, recipe: Recipe, tmp_path: Path) -> None:
    """The modules are the checkpoint's; what else trains is the new run's."""
    pruned = with_kind(recipe, "bottleneck", base=base)
    pruned["checkpoint"] = recipe["checkpoint"] | {
        "finetune_from_model": str(straight("bottleneck") / "checkpoint_last.pt")
    }
    train(pruned, tmp_path, method="parp", sparsity=0.5, interval=2)
    model, entry, _ = state_of(tmp_path / "checkpoint_last.pt")
    zeros = sum(int((model[name] == 0).sum()) for name in entry["pruning"]["mask"])
    size = sum(model[name].numel() for name in entry["pruning"]["mask"])
    assert zeros == size // 2
    assert not any(map(is_adapter, entry["pruning"]["mask"]))
    before = state_of(straight("bottleneck") / "checkpoint_last.pt")[0]
    moved = [
        name for name in entry["pruning"]["mask"] if not torch.equal(model[name], before[name] * (model[name] != 0))
    ]
    assert bool(moved) == (base == "trained")


@pytest.mark.parametrize("keys", [{"dropout": 0.3}, {"rank": 3}])
def test_a_new_run_needs_the_modules_of_its_checkpoint_and_the_line_can_be_typed(
    keys: dict[str, Any], straight: Any, recipe: Recipe, tmp_path: Path
) -> None:
    other = with_kind(recipe, "lora", **keys)
    other["checkpoint"] = recipe["checkpoint"] | {"finetune_from_model": str(straight("lora") / "checkpoint_last.pt")}
    other["optimization"] = recipe["optimization"] | {"max_update": 1}
    if "dropout" in keys:
        train(other, tmp_path, method="dense")
        assert state_of(tmp_path / "checkpoint_last.pt")[1]["adapters"]["config"]["dropout"] == 0.3
        return
    line = "start from it with task.adapters.kind=lora task.adapters.layers=all task.adapters.maps=[q,v,fc2] task.adap"
    with pytest.raises(OneLineExit, match=re.escape(line)):
        train(other, tmp_path, method="dense")


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
