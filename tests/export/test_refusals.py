"""What cannot be exported or imported is refused in one line, and nothing is left of it."""

from __future__ import annotations

import json
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
        ({"hidden_size": 36, "num_conv_pos_embedding_groups": 4}, r"has shape \(32"),
        ({"hidden_act": "quick_gelu"}, "activation_fn='quick_gelu'"),
        ({"conv_dim": None}, "the config cannot be read"),
    ],
)
def test_configs_of_other_models(theirs: Path, tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ExportError, match=words):
        import_folder(changed(theirs, **keys), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


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
