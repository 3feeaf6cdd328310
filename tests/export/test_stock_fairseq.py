"""Stock fairseq, in processes that do not know this plugin, loads and decodes what was exported for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import editdistance
import encoders
import pytest
import tiny
import torch
from in_process import speech, train

from fairseq_parp.checkpoints import read
from fairseq_parp.export.exporting import export
from fairseq_parp.export.source import Source
from fairseq_parp.transcription.audio import read_audio
from fairseq_parp.transcription.transcriber import Transcriber


def recipe(family: str, data: Path, folder: Path) -> dict[str, Any]:
    file = folder / f"{family}.pt"
    # the released data2vec has layer norms in its convolutions, and transformers knows no other
    more = {"extractor_mode": "layer_norm"} if family == "data2vec_audio" else {}
    pretrained = tiny.make_pretrained(file) if family == "wav2vec2" else encoders.make(family, file, **more)
    made = speech(data, pretrained)
    made["model"]["_name"] = encoders.CTC[family]
    return made


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of PARP of each family, and its export."""
    folder = tmp_path_factory.mktemp("trained")
    found = {}
    for family in encoders.CTC:
        train(recipe(family, data, folder), folder / family, method="parp", sparsity=0.5, interval=3)
        found[family] = folder / family / "checkpoint_last.pt"
        speaking(found[family], data)
        done = export(found[family], "fairseq", folder / f"{family}_out")
        assert done.zeros >= sum(int((value == 0).sum()) for value in read(found[family])["model"].values())
    return found


def speaking(checkpoint: Path, data: Path) -> None:
    """Give a checkpoint a head whose texts differ: after few updates every frame is blank."""
    state = read(checkpoint)
    weight, bias = (state["model"][f"w2v_encoder.proj.{part}"] for part in ("weight", "bias"))
    weight.normal_()
    bias.zero_()
    torch.save(state, checkpoint)
    audio = read_audio(data / "test-0.flac", 16000, normalize=False)
    bias -= Source.open(checkpoint).outputs(audio[None], None).mean((0, 1))
    torch.save(state, checkpoint)


def exported(checkpoint: Path) -> Path:
    return checkpoint.parents[1] / f"{checkpoint.parent.name}_out"


def test_its_texts_are_ours(trained: dict[str, Path], data: Path, commands: tiny.Commands, tmp_path: Path) -> None:
    files = [data / f"test-{number}.flac" for number in range(5)]
    arguments = [str(data), *(str(exported(each) / "model.pt") for each in trained.values())]
    done = commands.run("stock_decoding", arguments, tmp_path)
    theirs = dict(zip(trained, map(json.loads, done.out.strip().splitlines()[-len(trained) :]), strict=True))
    for family, checkpoint in trained.items():
        ours = list(map(Transcriber(checkpoint), files))
        assert len(set(ours)) > 1, family
        assert [" ".join(each.split()) for each in theirs[family]] == ours, family


def test_fairseq_validate_prints_the_error_rates_of_these_texts(
    trained: dict[str, Path], data: Path, commands: tiny.Commands, tmp_path: Path
) -> None:
    model = exported(trained["wav2vec2"]) / "model.pt"
    options = "--task audio_finetuning --labels ltr --valid-subset test --batch-size 1 --required-batch-size-multiple 1"
    done = commands.run("fairseq_cli.validate", [str(data), *options.split(), "--path", str(model), "--cpu"], tmp_path)
    wanted = [line.replace(" ", "").strip("|").split("|") for line in (data / "test.ltr").read_text().splitlines()]
    recogniser = Transcriber(trained["wav2vec2"])
    texts = [recogniser(data / f"test-{number}.flac").split() for number in range(len(wanted))]
    errors = sum(map(editdistance.eval, texts, wanted))
    (line,) = (each for each in (done.out + done.err).splitlines() if "valid on 'test' subset" in each)
    assert f"| nsentences {len(wanted)} |" in line
    assert f"| wer {round(100 * errors / sum(map(len, wanted)), 3):g} |" in line
