"""HuBERT and data2vec audio by fairseq's own classes: every method trains them, is killed, goes on, and decodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import encoders
import pytest
import tiny
import torch
from comparing import differences
from in_process import UPDATES, speech, state_of, train

from fairseq_parp import checkpoints
from fairseq_parp.cli import main
from fairseq_parp.errors import CheckpointError, OneLineExit
from fairseq_parp.sparsity import METHODS, MaskSet, read_config
from fairseq_parp.sparsity.counting import zero_count
from fairseq_parp.sparsity.methods import build_method

Recipe = dict[str, Any]


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tiny.Commands]:
    server = tiny.Commands(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_corpus(tmp_path_factory.mktemp("data"), {"train": 9, "valid": 3, "test": 4})


@pytest.fixture(scope="module", params=encoders.BESIDE_WAV2VEC2)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Recipe:
    name = request.param
    pretrained = encoders.make(name, tmp_path_factory.mktemp(name) / "pretrained.pt")
    made = speech(data, pretrained)
    return made | {"model": made["model"] | {"_name": encoders.CTC[name]}}


def keys_of(method: str, recipe: Recipe) -> dict[str, Any]:
    from fairseq_parp.mask_files.making import make_mask

    keys = {"method": method, "sparsity": 0.5, "interval": 2}
    if method != "fixed":
        return keys
    pretrained = Path(recipe["model"]["w2v_path"])
    file = pretrained.with_name("mask.safetensors")
    make_mask(pretrained, 0.5, "random-init").save(file)
    return keys | {"mask": str(file)}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Any:
    """Return the last checkpoint of a method's training that nothing stopped."""
    done: dict[str, Path] = {}

    def checkpoint(method: str) -> Path:
        if method not in done:
            folder = tmp_path_factory.mktemp(method)
            train(recipe, folder, **keys_of(method, recipe))
            done[method] = folder / "checkpoint_last.pt"
        return done[method]

    return checkpoint


QUICK = ("parp", "rp", "s3_router")
"""Methods that make test takes through both encoders: one that re-prunes, one that builds the encoder anew, one that
learns scores. test_methods.py has all of them on wav2vec 2.0."""


@pytest.mark.parametrize(
    "method", [method if method in QUICK else pytest.param(method, marks=pytest.mark.slow) for method in METHODS]
)
def test_it_has_the_zeros_and_a_stopped_training_goes_on_to_the_last_bit(
    method: str, recipe: Recipe, straight: Any, tmp_path: Path
) -> None:
    keys = keys_of(method, recipe)
    train(recipe, tmp_path, stop_after=5, **keys)
    train(recipe, tmp_path, **keys)
    resumed, whole = (state_of(file) for file in (tmp_path / "checkpoint_last.pt", straight(method)))
    assert differences(resumed, whole) == []
    model, entry, _ = whole
    masked = {name: model[name] for name in entry["pruning"]["mask"]}
    mask = MaskSet(dict(entry["pruning"]["mask"]), {name: tuple(each.shape) for name, each in masked.items()})
    built = build_method(read_config(keys), UPDATES)
    k = zero_count(built.target(entry["pruning"]["pruned_at"]), mask.size())
    zeros = sum(int((each == 0).sum()) for each in masked.values())
    assert mask.zeros() == k if built.facts.grows else zeros == k or not k
    assert len(masked) == 3 * 6 * (1 if built.learns_scores else 2)  # learned scores leave biases alone


@pytest.fixture(scope="module")
def finetuned(straight: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finetuned checkpoint in a folder of its own; nothing of the pretraining is where its config says."""
    place = tmp_path_factory.mktemp("alone") / "finetuned.pt"
    place.write_bytes(straight("parp").read_bytes())
    return place


@pytest.fixture
def without_pretrained(recipe: Recipe) -> Iterator[None]:
    file = Path(recipe["model"]["w2v_path"])
    hidden = file.with_suffix(".hidden")
    file.rename(hidden)
    yield
    hidden.rename(file)


@pytest.mark.usefixtures("without_pretrained")
def test_generate_and_transcribe_need_nothing_of_the_pretraining(
    finetuned: Path, data: Path, commands: tiny.Commands, tmp_path: Path
) -> None:
    from fairseq_parp.transcription.transcriber import transcribe

    commands.generate(data, finetuned, tmp_path, "--labels", "ltr", "--beam", "1")
    lines = (tmp_path / "generate-test.txt").read_text().splitlines()
    decoded = {int(line[2:].split("\t")[0]): line.split("\t")[2] for line in lines if line.startswith("H-")}
    assert sorted(decoded) == [0, 1, 2, 3]
    texts = transcribe(finetuned, [data / f"test-{number}.flac" for number in range(4)])
    assert [" ".join(decoded[number].split()) for number in range(4)] == texts


@pytest.mark.parametrize("recipe", ["hubert"], indirect=True)
@pytest.mark.usefixtures("without_pretrained")
def test_a_hubert_that_stock_fairseq_finetuned_decodes_alike(
    finetuned: Path, data: Path, commands: tiny.Commands, tmp_path: Path
) -> None:
    """fairseq's recipe finetunes with the task of the pretraining, which lists its labels."""
    from fairseq.tasks.hubert_pretraining import HubertPretrainingConfig
    from omegaconf import OmegaConf

    state = torch.load(finetuned, weights_only=False)
    task = HubertPretrainingConfig(data="/nowhere", fine_tuning=True, labels=["ltr"], label_dir="/nowhere")
    own: Any = OmegaConf.to_container(OmegaConf.structured(task), enum_to_str=True)
    state["cfg"] = {**state["cfg"], "task": own | {"_name": "hubert_pretraining"}}
    state["cfg"]["model"]["_name"] = "hubert_ctc"
    state["extra_state"] = {}
    torch.save(state, tmp_path / "stock.pt")
    texts = []
    for file in (finetuned, tmp_path / "stock.pt"):
        commands.generate(data, file, tmp_path / "out", "--labels", "ltr", "--beam", "1")
        lines = (tmp_path / "out" / "generate-test.txt").read_text().splitlines()
        texts.append(sorted(line for line in lines if line.startswith("H-")))
    assert len(texts[0]) == 4
    assert texts[0] == texts[1]


def test_validation_counts_blanks(recipe: Recipe, data: Path, commands: tiny.Commands, tmp_path: Path) -> None:
    keys = (f"model._name={recipe['model']['_name']}", "optimization.max_update=2")
    done = commands.train(tmp_path, tiny.training(tmp_path, data, Path(recipe["model"]["w2v_path"]), *keys))
    line = next(line for line in done.out.splitlines() if "valid_blank" in line)
    assert 0 <= float(json.loads(line[line.index("{") :])["valid_blank"]) <= 1


def test_padded_batches_count_the_frames_of_the_convolutions(finetuned: Path) -> None:
    """HuBERT's own mask has 94 frames of 48,000 and 30,000 samples where the convolutions give 93."""
    from fairseq_parp.architectures.convolutions import convolutions
    from fairseq_parp.decoding.encoder import encode
    from fairseq_parp.transcription.loading import load_finetuned

    model: Any = load_finetuned(finetuned).model
    source = torch.randn(2, 48_000)
    source[1, 30_000:] = 0
    padding = torch.arange(48_000) >= torch.tensor([[48_000], [30_000]])
    expected = []
    for frames in (48_000, 30_000):
        for kernel, stride in convolutions(model):
            frames = (frames - kernel) // stride + 1
        expected.append(frames)
    assert expected == [149, 93]
    with torch.no_grad():
        log_probs, lengths = encode([model], {"net_input": {"source": source, "padding_mask": padding}})
        short, _ = encode([model], {"net_input": {"source": source[1:, :30_000], "padding_mask": None}})
    assert lengths.tolist() == expected
    assert model.blank_frames == (int((short[0].argmax(-1) == 0).sum()), 93)
    torch.testing.assert_close(log_probs[1, :93], short[0], atol=1e-4, rtol=1e-4)


def test_masks_are_made_compared_and_applied(recipe: Recipe, finetuned: Path, tmp_path: Path) -> None:
    from fairseq_parp.mask_files.applying import apply_mask
    from fairseq_parp.mask_files.comparing import compare
    from fairseq_parp.mask_files.making import make_mask
    from fairseq_parp.mask_files.reading import read_mask

    pretrained = recipe["model"]["w2v_path"]
    masks = {by: make_mask(pretrained, 0.5, by) for by in ("magnitude", "random", "random-init")}
    half = masks["magnitude"].size() // 2
    assert {mask.zeros() for mask in masks.values()} == {half}
    compared = compare(masks | {"finetuned": read_mask(finetuned)})
    assert compared.overall("magnitude", "random-init").iou < compared.overall("magnitude", "finetuned").iou < 1
    for checkpoint in (pretrained, finetuned):
        assert apply_mask(checkpoint, masks["random-init"], tmp_path / "sparse.pt") == half
        weights = checkpoints.read(tmp_path / "sparse.pt")["model"]
        fitting = masks["random-init"].renamed(weights)
        assert not any(weights[name][~fitting.kept(name)].any() for name in fitting.bits)


def test_a_wav2vec2_is_refused_by_name_and_the_other_way_round(recipe: Recipe, data: Path, tmp_path: Path) -> None:
    """Each family's file under the model of another one."""
    models = {"parp_wav2vec_ctc", "parp_hubert_ctc"}
    (other,) = models - {recipe["model"]["_name"]}
    wrong = recipe | {"model": recipe["model"] | {"_name": other}}
    with pytest.raises(OneLineExit, match=f"which {other} does not take; model._name={recipe['model']['_name']}"):
        train(wrong, tmp_path / "theirs", method="parp", sparsity=0.5, interval=2)
    wav2vec2 = speech(data, tiny.make_pretrained(tmp_path / "wav2vec2.pt"))
    wav2vec2["model"]["_name"] = "parp_hubert_ctc"
    with pytest.raises(OneLineExit, match="which parp_hubert_ctc does not take"):
        train(wav2vec2, tmp_path / "ours", method="parp", sparsity=0.5, interval=2)


def test_fairseqs_own_model_over_another_familys_file_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = speech(data, encoders.make("hubert", tmp_path / "hubert.pt"))
    recipe["model"]["_name"] = "wav2vec_ctc"
    with pytest.raises(OneLineExit, match=r"'hubert', which parp_wav2vec_ctc does not take; .*=parp_hubert_ctc"):
        train(recipe, tmp_path / "run", method="parp", sparsity=0.5, interval=2)


@pytest.mark.parametrize("name", ["data2vec_multi", "transformer_lm", "wavlm"])
def test_an_unknown_family_is_refused_with_those_that_are_known(name: str, recipe: Recipe, tmp_path: Path) -> None:
    state = torch.load(recipe["model"]["w2v_path"], weights_only=False)
    state["cfg"]["model"]["_name"] = name
    torch.save(state, tmp_path / "other.pt")
    wrong = recipe | {"model": recipe["model"] | {"w2v_path": str(tmp_path / "other.pt")}}
    with pytest.raises(OneLineExit, match=f"'{name}' is not an encoder .* here; wav2vec2, hubert, data2vec_audio can"):
        train(wrong, tmp_path, method="parp", sparsity=0.5, interval=2)


def test_a_dictionary_of_the_pretraining_with_other_attributes_is_refused(tmp_path: Path) -> None:
    state = torch.load(encoders.make("hubert", tmp_path / "pretrained.pt"), weights_only=False)
    state["task_state"]["dictionaries"][0].index = "takes the place of a method"
    torch.save(state, tmp_path / "changed.pt")
    with pytest.raises(CheckpointError, match="its dictionary has other attributes than fairseq's"):
        checkpoints.read(tmp_path / "changed.pt")


def test_a_finetuned_file_is_refused_as_a_pretrained_one(recipe: Recipe, finetuned: Path, tmp_path: Path) -> None:
    wrong = recipe | {"model": recipe["model"] | {"w2v_path": str(finetuned)}}
    with pytest.raises(OneLineExit, match="is finetuned already"):
        train(wrong, tmp_path, method="parp", sparsity=0.5, interval=2)


@pytest.mark.parametrize("model", ["wav2vec_seq2seq", "hubert_seq2seq"])
def test_the_command_refuses_it_before_fairseq_starts(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config-name", "base_10m", f"model._name={model}"]) == 2
    assert f"model._name='{model}': only CTC is supported" in capsys.readouterr().err


def test_the_stock_hubert_model_is_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    wrong = recipe | {"model": recipe["model"] | {"_name": "hubert_ctc"}}
    with pytest.raises(OneLineExit, match="parp_hubert_ctc is the same model"):
        train(wrong, tmp_path, method="parp", sparsity=0.5, interval=2)


@pytest.mark.parametrize("model", ["wav2vec_seq2seq", "hubert_seq2seq"])
def test_a_model_with_a_decoder_is_refused(model: str, recipe: Recipe, tmp_path: Path) -> None:
    wrong = recipe | {"model": recipe["model"] | {"_name": model}}
    with pytest.raises(OneLineExit, match=f"model._name='{model}': only CTC is supported"):
        train(wrong, tmp_path, method="parp", sparsity=0.5, interval=2)
