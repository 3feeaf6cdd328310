"""Language adapters as transformers itself writes and computes them become parts over one base, and come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mms
import pytest
import torch
import transformers
from mms import VOCABULARIES
from safetensors.torch import load_file, save_file

from fairseq_parp import cli
from fairseq_parp.errors import ConfigError, ExportError, PartError
from fairseq_parp.export.importing import import_folder
from fairseq_parp.parts.applying import apply
from fairseq_parp.parts.loading import Parts
from fairseq_parp.parts.mms import export_adapter, import_adapter
from fairseq_parp.parts.part import Part
from fairseq_parp.transcription.loading import load_finetuned

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mms.save(tmp_path_factory.mktemp("mms"))


@pytest.fixture(scope="module")
def base(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("base") / "mms.pt"
    assert import_folder(folder, file).symbols == 0
    return file


@pytest.fixture(scope="module")
def parts(folder: Path, base: Path) -> dict[str, Path]:
    files = {language: base.with_name(f"{language}.safetensors") for language in VOCABULARIES}
    for language, file in files.items():
        import_adapter(base, folder / f"adapter.{language}.safetensors", folder / "vocab.json", language, file)
    return files


@torch.no_grad()
def theirs(folder: Path, language: str, audio: torch.Tensor) -> torch.Tensor:
    model = transformers.Wav2Vec2ForCTC.from_pretrained(
        folder, target_lang=language, ignore_mismatched_sizes=True
    ).eval()
    return model(audio).logits  # type: ignore[no-any-return]


@torch.no_grad()
def ours(model: Any, audio: torch.Tensor) -> torch.Tensor:
    return model(source=audio, padding_mask=None)["encoder_out"].transpose(0, 1)  # type: ignore[no-any-return]


def test_parts_compute_what_transformers_computes_in_one_process_and_from_checkpoints(
    folder: Path, base: Path, parts: dict[str, Path], tmp_path: Path
) -> None:
    audio = torch.nn.functional.layer_norm(torch.randn(1, 6000), (6000,))
    loaded = Parts(base, parts, "cpu")
    found = {}
    for language in ("nld", "spa", "nld"):
        wanted = theirs(folder, language, audio)
        found[language] = ours(loaded.switch(language).model, audio)
        assert found[language].shape == wanted.shape
        assert (found[language] - wanted).abs().max() < 2e-5 * max(1.0, wanted.abs().max())
        apply(base, parts[language], tmp_path / f"{language}.pt")
        assert torch.equal(ours(load_finetuned(tmp_path / f"{language}.pt").model, audio), found[language])
    assert Part.load(parts["nld"]).content["method"] == "adapters+head"
    assert loaded.switch("nld").normalize
    assert loaded.switch("nld").dictionary.symbols[4:] == ["|", "A", "B", "C", "ij", "é"]


def test_a_part_goes_back_to_the_same_tensors(folder: Path, parts: dict[str, Path], tmp_path: Path) -> None:
    for language, part in parts.items():
        adapter, vocab = export_adapter(part, tmp_path / language)
        assert adapter.name == f"adapter.{language}.safetensors"
        assert json.loads(vocab.read_text()) == {language: VOCABULARIES[language]}
        was, now = load_file(folder / adapter.name), load_file(adapter)
        assert was.keys() == now.keys()
        assert all(torch.equal(was[name], now[name]) for name in was)
        with pytest.raises(ConfigError, match="exists already; name another folder"):
            export_adapter(part, tmp_path / language)


def test_the_commands(folder: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["part", "import", str(base), str(folder / "adapter.nld.safetensors"), "--vocab"]
    words += [str(folder / "vocab.json"), "--language", "nld", "-o", str(tmp_path / "nld.safetensors")]
    assert cli.main(words) == 0
    assert "method     adapters+head" in capsys.readouterr().out
    assert cli.main(["part", "export", str(tmp_path / "nld.safetensors"), "-o", str(tmp_path / "out")]) == 0
    assert "adapter.nld.safetensors" in capsys.readouterr().out


def test_what_does_not_fit_is_refused(folder: Path, base: Path, tmp_path: Path) -> None:
    good, vocab = folder / "adapter.spa.safetensors", folder / "vocab.json"

    def refused(match: str, error: type[Exception] = PartError, **other: Any) -> None:
        given = {"adapter": good, "vocab": vocab, "language": "spa", "base": base} | other
        with pytest.raises(error, match=match):
            import_adapter(out=tmp_path / "p.safetensors", **given)
        assert not (tmp_path / "p.safetensors").exists()

    def changed(**tensors: Any) -> Path:
        file = tmp_path / "changed.safetensors"
        every = load_file(good) | tensors
        save_file({name: value for name, value in every.items() if value is not None}, file)
        return file

    refused("has no language 'fra'; it has spa, nld", language="fra")
    refused(r"10 symbols, lm_head has 8 rows", ExportError, language="nld")
    refused("lacks lm_head.bias and has besides none", adapter=changed(**{"lm_head.bias": None}))
    refused("has besides more", adapter=changed(more=torch.ones(1)))
    weight = "wav2vec2.encoder.layers.1.adapter_layer.linear_2.weight"
    refused(r"linear_2.weight is torch.float32 of shape \(2, 2\)", adapter=changed(**{weight: torch.ones(2, 2)}))
    refused("not a safetensors file", adapter=base)
    refused("no such file", adapter=tmp_path / "none")
    with pytest.raises(PartError, match="not a part, but a safetensors file"):
        export_adapter(good, tmp_path / "out")
