"""Parts of classifiers, of utterances and of texts: applied, they give the checkpoint's labels."""

from __future__ import annotations

from pathlib import Path

import labelled
import made
import pytest
import texts
import torch
from in_process import common, train

from fairseq_parp import checkpoints
from fairseq_parp.classification.registry import load_classifier
from fairseq_parp.cli import main
from fairseq_parp.errors import PartError
from fairseq_parp.parts.applying import apply
from fairseq_parp.parts.extracting import extract
from fairseq_parp.parts.loading import Parts
from fairseq_parp.parts.transcribing import PartsTranscriber
from fairseq_parp.transcription.loading import load_finetuned

pytestmark = pytest.mark.filterwarnings("ignore")


def require_restored(checkpoint: Path, base: Path, inputs: list[str]) -> Path:
    """Check that a checkpoint comes back from its part, and is extracted to the same file; return the part."""
    folder = checkpoint.parent
    extract(checkpoint, folder / "part.safetensors", base)
    apply(base, folder / "part.safetensors", folder / "applied.pt")
    extract(folder / "applied.pt", folder / "again.safetensors", base, "part")
    assert (folder / "again.safetensors").read_bytes() == (folder / "part.safetensors").read_bytes()
    ours, theirs = (checkpoints.read(file)["model"] for file in (folder / "applied.pt", checkpoint))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].numpy().tobytes() == theirs[name].numpy().tobytes() for name in theirs)
    found = [list(load_classifier(file).classify(inputs)) for file in (folder / "applied.pt", checkpoint)]
    assert found[0] == found[1]
    assert len(found[0]) > 1
    return folder / "part.safetensors"


@pytest.mark.parametrize("name", ["s3_router", "bottleneck"])
def test_utterances(name: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = labelled.make_data(tmp_path, {"train": 9, "valid": 3, "test": 2})
    adapters, pruning = made.TRAINED[name]
    recipe = labelled.recipe(data, base, 3)
    recipe["task"] |= {"adapters": adapters}
    train(recipe, tmp_path / "run", **pruning)
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"
    part = require_restored(checkpoint, base, sorted(map(str, (tmp_path / "tones").glob("test-*.flac"))))
    audio = torch.randn(2, 3000, generator=torch.Generator().manual_seed(1))
    switched = Parts(base, {"part": part}, "cpu").switch("part")
    with torch.no_grad():
        outputs = [model(source=audio, padding_mask=None)
                   for model in (switched.model, load_finetuned(checkpoint, classifier=True).model)]  # fmt: skip
    assert torch.equal(*outputs)
    assert switched.dictionary.symbols == sorted(labelled.PITCHES)
    with pytest.raises(PartError, match="gives a label to an utterance, and no text"):
        PartsTranscriber(base, {"part": part}, device="cpu")
    assert main(["part", "show", str(part)]) == 0
    assert "labels     label, 3 symbols: high, low, middle" in capsys.readouterr().out


def test_texts(tmp_path: Path) -> None:
    """The pretrained file is the encoder alone, or a model that was finetuned on other labels."""
    data = texts.make_data(tmp_path, {"train": 21, "valid": 5})
    recipe = common() | {
        "task": texts.task(data), "dataset": {"num_workers": 0, "batch_size": 6},
        "criterion": {"_name": "sentence_prediction"}, "model": texts.MODEL,
    }  # fmt: skip
    recipe["optimization"] |= {"max_update": 2}
    train(recipe, tmp_path / "first", method="dense")
    finetuned, encoder = tmp_path / "first" / "checkpoint_last.pt", tmp_path / "encoder.pt"
    state = checkpoints.read(finetuned)
    kept = {name: value for name, value in state["model"].items() if not name.startswith("classification_heads")}
    torch.save(state | {"model": kept}, encoder)
    recipe["task"] |= {"adapters": {"kind": "lora", "rank": 2}}
    recipe["checkpoint"] |= {"finetune_from_model": str(finetuned)}
    train(recipe, tmp_path / "second", method="dense")
    (tmp_path / "lines").write_text("the old cat was seen here\na big hammer and a saw\n")
    for base in (encoder, finetuned):
        require_restored(tmp_path / "second" / "checkpoint_last.pt", base, [str(tmp_path / "lines")])
