"""What cannot be exported or imported is refused in one line, and nothing is left of it."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers_models import save

from fairseq_parp.checkpoints import read
from fairseq_parp.errors import CheckpointError, ConfigError, ExportError, ParpError
from fairseq_parp.export import to_transformers
from fairseq_parp.export.exporting import export
from fairseq_parp.export.importing import import_folder
from fairseq_parp.export.targets import TARGETS


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    save(tmp_path / "theirs", "base", "ForCTC")
    return tmp_path / "theirs"


@pytest.fixture
def ours(theirs: Path, tmp_path: Path) -> Path:
    import_folder(theirs, tmp_path / "ours.pt")
    return tmp_path / "ours.pt"


def changed(folder: Path, **keys: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


def test_unknown_target_and_existing_folder(ours: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be one of compact, fairseq, onnx, transformers"):
        export(ours, "tensorflow", tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="--force"):
        export(ours, "transformers", tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "kept"
    export(ours, "transformers", tmp_path / "out", force=True)
    assert not (tmp_path / "out" / "mine").exists()


def test_an_export_that_computes_something_else_is_refused_and_leaves_nothing(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = to_transformers.outputs

    def wrong(*arguments: Any) -> list[torch.Tensor]:
        return [each + 1e-3 for each in computed(*arguments)]

    monkeypatch.setattr(to_transformers, "outputs", wrong)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportError, match="outputs differ by"):
        export(ours, "transformers", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_changed_tensor_is_found(ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = to_transformers.stored

    def wrong(*arguments: Any) -> dict[str, torch.Tensor]:
        found = stored(*arguments)
        name = next(name for name in found if name.endswith("fc1.weight"))
        found[name][0, 0] += 1e-6
        return found

    monkeypatch.setattr(to_transformers, "stored", wrong)
    with pytest.raises(ExportError, match=r"fc1\.weight is not the checkpoint's"):
        export(ours, "transformers", tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"layer_type": "conformer"}, "layer_type='conformer'"),
        ({"_name": "wav2vec"}, "a pretrained wav2vec is not known"),
        ({"pos_conv_depth": 3}, "3 positional convolution"),
        ({"activation_fn": "gelu_accurate"}, "activation_fn='gelu_accurate'"),
    ],
)
def test_encoders_that_transformers_lacks(ours: Path, tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    state = read(ours)
    state["cfg"]["model"]["w2v_args"]["model"].update(keys)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=words):
        export(tmp_path / "other.pt", "transformers", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_audio_too_short(ours: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "short.wav", [0.0] * 10, 16000)
    with pytest.raises(ParpError, match="too short: 10 samples"):
        export(ours, "transformers", tmp_path / "out", [tmp_path / "short.wav"])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model_type": "whisper"}, "model_type='whisper' is not known; known are wav2vec2, hubert, data2vec-audio"),
        ({"pad_token_id": 99}, "pad_token_id=99 is the blank, and is not the index of a symbol"),
        (
            {"hidden_size": 36},
            r"the tensor of encoder.layers.0.fc1.weight has shape \(48, 32\), its config .* \(48, 36\)",
        ),
        ({"hidden_size": 4 * 10**12}, r"its config makes it \(48, 4000000000000\)"),
        ({"num_conv_pos_embeddings": 10**12}, r"encoder.pos_conv.0.weight_v has shape \(32, 8, 16\), its config"),
        ({"num_hidden_layers": 10**9}, r"its config has 1000000000 layers, its weights have \d+ tensors"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers=2.5: must be a whole number above 0"),
        ({"hidden_size": "32"}, "hidden_size='32': must be a whole number above 0"),
        ({"num_attention_heads": 3}, "a width of 32 does not divide into 3 heads"),
        ({"conv_stride": [5, 0, 4]}, r"conv_stride=\[5, 0, 4\]: must be a list of whole numbers above 0"),
        ({"conv_kernel": [10, 3]}, "conv_dim, conv_kernel, conv_stride have different lengths"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm='batch': fairseq's class has only 'group' or 'layer'"),
        ({"add_adapter": True}, "add_adapter=True: fairseq's class has only False"),
        ({"layer_norm_eps": 1e-7}, "layer_norm_eps=1e-07: fairseq's class has only 1e-05"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim: has the adapters of a language, and no vocabulary of it"),
        ({"pad_token_id": True}, "pad_token_id=True, is no whole number"),
        ({"hidden_act": "quick_gelu"}, "activation_fn='quick_gelu'"),
        ({"conv_dim": None}, "conv_dim=None: must be a list"),
    ],
)
def test_configs_of_other_models(theirs: Path, tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        import_folder(changed(theirs, **keys), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        ({"C": 7.0}, "an index, or pad_token_id=0, is no whole number"),
        ({"C": {"A": 0}}, "has languages and symbols side by side"),
        ({"C": 5, " ": 7}, "symbol ' ': fairseq's dictionaries have no white space; the word boundary is '|'"),
        ({"C": 5, "": 7}, "symbol ''"),
        ({"C": 5}, "8 symbols, lm_head has 8 rows"),
    ],
)
def test_vocabularies(theirs: Path, tmp_path: Path, symbols: dict[str, Any], words: str) -> None:
    vocabulary = json.loads((theirs / "vocab.json").read_text()) | symbols
    (theirs / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ExportError, match=words) as refused:
        import_folder(theirs, tmp_path / "out.pt")
    assert str(refused.value).startswith(f"{theirs / 'vocab.json'}: ")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite(value: float, ours: Path, theirs: Path, tmp_path: Path) -> None:
    state = read(ours)
    state["model"]["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"][0, 0] = value
    torch.save(state, tmp_path / "damaged.pt")
    with pytest.raises(ExportError, match=r"damaged\.pt: .*layers\.0\.fc1\.weight has NaN or infinite values"):
        export(tmp_path / "damaged.pt", "compact", tmp_path / "out")
    tensors = load_file(theirs / "model.safetensors")
    tensors["lm_head.bias"][0] = value
    save_file(tensors, theirs / "model.safetensors")
    with pytest.raises(ExportError, match=r"theirs: lm_head\.bias has NaN or infinite values"):
        import_folder(theirs, tmp_path / "out.pt")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("target", TARGETS)
def test_a_checkpoint_that_no_model_can_be_built_of_is_named_itself(target: str, ours: Path, tmp_path: Path) -> None:
    """The check reads the export under a temporary name, which no message has."""
    state = read(ours)
    del state["model"]["w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"]
    torch.save(state, tmp_path / "lacking.pt")
    with pytest.raises(CheckpointError, match=r"fc1\.weight") as refused:
        export(tmp_path / "lacking.pt", target, tmp_path / "out")
    assert str(refused.value).startswith(f"{tmp_path / 'lacking.pt'}: ")


def test_missing_and_damaged_files(theirs: Path, tmp_path: Path) -> None:
    whole = (theirs / "model.safetensors").read_bytes()
    (theirs / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(ExportError, match="truncated or damaged"):
        import_folder(theirs, tmp_path / "out.pt")
    (theirs / "model.safetensors").write_bytes(whole)
    tensors = load_file(theirs / "model.safetensors")
    tensors.pop("wav2vec2.encoder.layer_norm.weight")
    save_file(tensors, theirs / "model.safetensors")
    with pytest.raises(ExportError, match=r"has no tensor wav2vec2\.encoder\.layer_norm\.weight"):
        import_folder(theirs, tmp_path / "out.pt")
    (theirs / "model.safetensors").unlink()
    with pytest.raises(ExportError, match="no weights; one of"):
        import_folder(theirs, tmp_path / "out.pt")
    with pytest.raises(ExportError, match=r"no such file: .*nowhere does not exist; name a folder of save_"):
        import_folder(tmp_path / "nowhere", tmp_path / "out.pt")


def test_weights_in_several_files(theirs: Path, tmp_path: Path) -> None:
    """As save_pretrained writes a large model."""
    import_folder(theirs, tmp_path / "one.pt")
    model = transformers.Wav2Vec2ForCTC.from_pretrained(theirs)
    (theirs / "model.safetensors").unlink()
    model.save_pretrained(theirs, max_shard_size="20KB")
    shards = sorted(theirs.glob("model-*.safetensors"))
    assert len(shards) > 1
    import_folder(theirs, tmp_path / "several.pt")
    one, several = (read(tmp_path / name)["model"] for name in ("one.pt", "several.pt"))
    assert all(several[name].equal(value) for name, value in one.items())
    shards[0].unlink()
    with pytest.raises(ExportError, match=f"{shards[0].name}: no such file; the folder's index lists it"):
        import_folder(theirs, tmp_path / "out.pt")
    index = theirs / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../one.safetensors"}}))
    with pytest.raises(ExportError, match="weight_map is not a mapping of tensors to files of the folder"):
        import_folder(theirs, tmp_path / "out.pt")


class Hostile:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("hostile-ran"),))


def test_a_projection_that_fairseq_has_no_place_for(tmp_path: Path) -> None:
    save(tmp_path / "theirs", "projection_is_identity", "Model")
    tensors = load_file(tmp_path / "theirs" / "model.safetensors")
    tensors["feature_projection.projection.bias"] += 1
    save_file(tensors, tmp_path / "theirs" / "model.safetensors")
    with pytest.raises(ExportError, match=r"feature_projection\.projection: .* not the identity"):
        import_folder(tmp_path / "theirs", tmp_path / "out.pt")


def test_a_pickle_of_weights_runs_nothing(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (theirs / "model.safetensors").unlink()
    (theirs / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Hostile()}))
    with pytest.raises(CheckpointError):
        import_folder(theirs, tmp_path / "out.pt")
    assert not (tmp_path / "hostile-ran").exists()


def test_normalize_has_to_be_stated(theirs: Path, tmp_path: Path) -> None:
    (theirs / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="--normalize"):
        import_folder(theirs, tmp_path / "out.pt")
    assert not import_folder(theirs, tmp_path / "out.pt", normalize=False).normalize
