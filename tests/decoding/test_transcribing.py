"""Audio files to text: with a model that hears tones, and with a real checkpoint."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ngram_oracle as ngram
import numpy as np
import pytest
import soundfile
import soxr
import torch
from fairseq.data import Dictionary
from tone_model import finetuned_on_tones, tones

from fairseq_parp.architectures.convolutions import shortest_input
from fairseq_parp.cli import transcribe as command
from fairseq_parp.decoding import LanguageModel
from fairseq_parp.errors import AudioError, ConfigError
from fairseq_parp.manifests.audio import read_header
from fairseq_parp.manifests.reading import Location
from fairseq_parp.transcription import audio, loading
from fairseq_parp.transcription.audio import read_audio
from fairseq_parp.transcription.transcriber import Transcriber, transcribe


@pytest.fixture
def finetuned(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What every checkpoint loads as; a test may change it."""
    loaded = finetuned_on_tones()
    monkeypatch.setattr(loading, "load_finetuned", lambda *_arguments: loaded)
    return loaded


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize(
    ("name", "rate", "subtype", "channels"),
    [
        ("a.wav", 16000, "PCM_16", 1),
        ("b.flac", 8000, "PCM_16", 1),
        ("c.wav", 44100, "FLOAT", 2),
        ("d.ogg", 22050, "VORBIS", 1),
        ("e.wav", 11025, "PCM_U8", 1),
        ("f.aiff", 48000, "PCM_24", 3),
        ("g.wav", 8000, "GSM610", 1),
    ],
)
def test_any_rate_channels_and_format(
    finetuned: SimpleNamespace, tmp_path: Path, name: str, rate: int, subtype: str, channels: int, beam: int
) -> None:
    soundfile.write(tmp_path / name, np.stack([tones(rate)] * channels, axis=1), rate, subtype=subtype)
    assert transcribe("a.pt", [tmp_path / name], beam=beam) == ["ABB A"]
    assert abs(finetuned.model.source.size(1) - 6 * 3200) <= 1


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tones(16000), np.zeros(19200)], axis=1), 16000, subtype="FLOAT")
    assert read_audio(tmp_path / "a.wav", 16000, False).numpy() == pytest.approx(tones(16000) / 2, abs=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_audio_is_normalised_as_the_checkpoint_says(
    finetuned: SimpleNamespace, tmp_path: Path, normalize: bool
) -> None:
    finetuned.normalize = normalize
    soundfile.write(tmp_path / "a.wav", 0.1 + 0.5 * tones(16000), 16000)
    transcribe("a.pt", [tmp_path / "a.wav"])
    source = finetuned.model.source
    assert (float(source.mean()) == pytest.approx(0, abs=1e-4)) == normalize
    assert (float(source.std()) == pytest.approx(1, abs=1e-2)) == normalize


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("normalize", [True, False])
def test_blocks_give_what_the_whole_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, normalize: bool
) -> None:
    wave = np.random.default_rng(1).normal(0.1, 0.1, (rate, 2))
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    whole = torch.from_numpy(soxr.resample(wave.mean(axis=1), rate, 16000)).float()
    expected = torch.nn.functional.layer_norm(whole, whole.shape) if normalize else whole
    monkeypatch.setattr(audio, "BLOCK", 1237)
    torch.testing.assert_close(read_audio(tmp_path / "a.wav", 16000, normalize), expected, rtol=0, atol=3e-6)


def test_other_labels_are_symbols(finetuned: SimpleNamespace, tmp_path: Path) -> None:
    finetuned.labels = "phn"
    soundfile.write(tmp_path / "a.wav", tones(16000), 16000)
    assert transcribe("a.pt", [tmp_path / "a.wav"]) == ["A B B | A"]


@pytest.mark.usefixtures("finetuned")
class TestBadInput:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match=r"/none\.wav: no such file"):
            transcribe("a.pt", [tmp_path / "none.wav"])

    @pytest.mark.parametrize("name", ["text.wav", "headerless.raw"])
    def test_not_audio(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("no sound")
        with pytest.raises(AudioError, match="cannot be read as audio"):
            transcribe("a.pt", [tmp_path / name])

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(AudioError, match="a folder; name a file in it"):
            transcribe("a.pt", [tmp_path])

    def test_empty(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
        with pytest.raises(AudioError, match=r"a\.wav: has no samples"):
            transcribe("a.pt", [tmp_path / "a.wav"])

    @pytest.mark.parametrize(
        ("rate", "samples", "enough"), [(16000, 399, False), (16000, 400, True), (8000, 190, False)]
    )
    def test_shorter_than_a_frame(self, tmp_path: Path, rate: int, samples: int, enough: bool) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(samples), rate)
        if enough:
            assert transcribe("a.pt", [tmp_path / "a.wav"]) == [""]
            return
        with pytest.raises(AudioError, match=r"a\.wav: too short: 3\d\d samples, .* needs 400 samples at 16000 Hz"):
            transcribe("a.pt", [tmp_path / "a.wav"])

    def test_not_a_number(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.full(800, np.nan), 16000, subtype="FLOAT")
        with pytest.raises(AudioError, match="NaN or infinite"):
            transcribe("a.pt", [tmp_path / "a.wav"])

    def test_beam(self) -> None:
        with pytest.raises(ConfigError, match="beam=0"):
            Transcriber("a.pt", beam=0)


@pytest.mark.usefixtures("finetuned")
@pytest.mark.parametrize("count", [1, 2])
def test_the_command_prints_a_line_per_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int) -> None:
    parser = ArgumentParser()
    command.add_arguments(parser)
    files = [str(tmp_path / f"{number}.wav") for number in range(count)]
    for path, text in zip(files, ["AB", "B|A"], strict=False):
        soundfile.write(path, tones(16000, text), 16000)
    expected = list(zip(files, ["AB", "B A"], strict=False))
    assert command.run(parser.parse_args(["a.pt", *files])) == 0
    assert capsys.readouterr().out == "".join(f"{path}\t{text}\n" for path, text in expected)
    assert command.run(parser.parse_args(["a.pt", *files, "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["path"], each["text"]) for each in found] == expected


@pytest.mark.usefixtures("finetuned")
def test_a_bad_file_keeps_no_other_from_being_transcribed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, silent = str(tmp_path / "good.wav"), str(tmp_path / "silent.wav")
    soundfile.write(good, tones(16000, "AB"), 16000)
    soundfile.write(silent, np.zeros(16000), 16000)
    (tmp_path / "bad.wav").write_text("no sound")
    files = [good, str(tmp_path / "bad.wav"), silent, good]
    assert run_command(*files) == 1
    shown = capsys.readouterr()
    assert shown.out == f"{good}\tAB\n{silent}\t\n{good}\tAB\n"
    assert shown.err.splitlines() == [
        f"fairseq-parp transcribe: {tmp_path}/bad.wav: cannot be read as audio, it is a text file",
        f"note: {silent}: no text: the model emits only blanks here, as after a short training or in silence",
    ]
    assert run_command(*files, "--json") == 1
    assert [found["text"] for found in json.loads(capsys.readouterr().out)] == ["AB", "", "AB"]


def test_long_audio_is_stitched_without_loss(finetuned: SimpleNamespace, tmp_path: Path) -> None:
    """140 seconds: the text, and every frame, are those of the whole; the model never sees more than a window."""
    text = "".join(np.random.default_rng(1).choice(list("AB-|"), 700))
    soundfile.write(tmp_path / "a.wav", tones(16000, text), 16000)
    lengths: list[int] = []
    forward = finetuned.model.forward
    finetuned.model.forward = lambda source, padding_mask: (
        lengths.append(source.size(1)), forward(source, padding_mask),
    )[1]  # fmt: skip
    transcriber = Transcriber("a.pt")
    stitched = transcriber.log_probs(tmp_path / "a.wav")
    assert lengths == [640_000, 640_000, 640_000, 640_000, 320_000]
    whole = finetuned.model(source=read_audio(tmp_path / "a.wav", 16000, False)[None], padding_mask=None)
    assert torch.equal(stitched, finetuned.model.get_normalized_probs(whole, True)[:, 0])
    with_pauses = "".join(letter for letter, before in zip(text, f"-{text}", strict=False) if letter != before)
    said = with_pauses.replace("-", "").replace("|", " ")
    assert transcriber(tmp_path / "a.wav").split() == said.split()


def test_transcribe_and_manifests_read_gsm_alike(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tones(8000), 8000, subtype="GSM610")
    header = read_header(Location(str(tmp_path / "a.wav")))
    assert len(read_audio(tmp_path / "a.wav", 8000, False)) == header.frames > 0


def run_command(*words: str) -> int:
    parser = ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["a.pt", *words]))


@ngram.NEEDS_FLASHLIGHT
@pytest.mark.usefixtures("finetuned")
class TestLanguageModel:
    def test_only_its_words_are_found(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lm, path = ngram.write_arpa(tmp_path / "lm.arpa"), tmp_path / "a.wav"
        soundfile.write(path, tones(16000, "AB|B"), 16000)
        lexicon = tmp_path / "lexicon.txt"
        lexicon.write_text("AB\tA B |\n")
        assert transcribe("a.pt", [path]) == ["AB B"]
        (text,) = transcribe("a.pt", [path], lm=LanguageModel(lm, weight=0.1))
        assert text.split()[0] == "AB"
        assert set(text.split()) <= set(ngram.WORDS)
        named = ["--lm", str(lm), "--lexicon", str(lexicon), "--lm-weight", "0", "--word-score", "0"]
        assert run_command(str(path), *named, "--beam", "20") == 0
        found = capsys.readouterr().out.rstrip("\n").split("\t")[1]
        assert set(found.split()) == {"AB"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--lm", "LM", "--beam", "1"], "beam=1: a language model needs a beam"),
            (["--lexicon", "words.txt"], "lexicon='words.txt': is for a language model"),
            (["--lm-weight", "1"], "LM weight=1.0: is for a language model"),
        ],
    )
    def test_options_that_do_not_fit(self, tmp_path: Path, options: list[str], message: str) -> None:
        lm = str(ngram.write_arpa(tmp_path / "lm.arpa"))
        with pytest.raises(ConfigError, match=message):
            run_command("a.wav", *[lm if option == "LM" else option for option in options])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finetuned wav2vec 2.0 with random weights, saved as fairseq-hydra-train does; its folders do not exist."""
    from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Config
    from fairseq.models.wav2vec.wav2vec2_asr import Wav2Vec2CtcConfig, Wav2VecCtc
    from omegaconf import OmegaConf

    def keys(config: type, **changed: Any) -> dict[str, Any]:
        plain: dict[str, Any] = OmegaConf.to_container(OmegaConf.structured(config), resolve=False, enum_to_str=True)
        return {name: value for name, value in plain.items() if not str(value).startswith("${")} | changed

    pretrained = keys(
        Wav2Vec2Config,
        _name="wav2vec2",
        conv_feature_layers="[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2",
        encoder_layers=2,
        encoder_embed_dim=32,
        encoder_ffn_embed_dim=64,
        encoder_attention_heads=2,
        conv_pos=16,
        conv_pos_groups=2,
    )
    task = {"_name": "audio_pretraining", "data": "/nowhere", "normalize": True, "labels": None, "sample_rate": 16000}
    model = keys(
        Wav2Vec2CtcConfig,
        _name="wav2vec_ctc",
        w2v_path="/nowhere/pretrained.pt",
        w2v_args={"model": pretrained, "task": task, "criterion": None},
        normalize=True,
        data="/nowhere",
        ddp_backend="legacy_ddp",
    )
    dictionary = Dictionary()
    for letter in "|ABCDEFGH":
        dictionary.add_symbol(letter)
    torch.manual_seed(1)
    cfg = {"model": model, "task": {**task, "_name": "audio_finetuning", "labels": "ltr"}}
    network = Wav2VecCtc.build_model(OmegaConf.create(cfg).model, SimpleNamespace(target_dictionary=dictionary))
    path = tmp_path_factory.mktemp("finetuned") / "checkpoint_best.pt"
    history = {"criterion_name": "Ctc", "optimizer_name": "Adam", "lr_scheduler_state": {}, "num_updates": 1}
    torch.save(
        {
            "args": None,
            "cfg": cfg,
            "model": network.state_dict(),
            "optimizer_history": [history],
            "extra_state": {},
            "task_state": {"target_dictionary": dictionary},
        },
        path,
    )
    return path


def test_a_real_checkpoint_without_its_pretrained_file(checkpoint: Path, tmp_path: Path) -> None:
    for name, rate in (("a.wav", 16000), ("b.wav", 44100)):
        soundfile.write(tmp_path / name, tones(rate), rate)
    transcriber = Transcriber(checkpoint)
    texts = [transcriber(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert set("".join(texts)) <= set("ABCDEFGH <pad>unk")
    assert texts == [transcriber(tmp_path / name) for name in ("a.wav", "b.wav")]
    assert shortest_input(transcriber._finetuned.model) == 400
    soundfile.write(tmp_path / "short.wav", np.zeros(399), 16000)
    with pytest.raises(AudioError, match="too short"):
        transcriber(tmp_path / "short.wav")
    soundfile.write(tmp_path / "long_enough.wav", np.ones(400), 16000)
    transcriber(tmp_path / "long_enough.wav")
