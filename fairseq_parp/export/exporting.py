"""Exporting: write a folder, compare it with the checkpoint, and only then give it its name."""

from __future__ import annotations

import importlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fairseq_parp.checkpoints.finetuned import task_of
from fairseq_parp.errors import CheckpointError, ConfigError, ExportError, absolute
from fairseq_parp.export.audio import Batch, batch, check_audio
from fairseq_parp.export.card import card
from fairseq_parp.export.provenance import scored
from fairseq_parp.export.source import Source, require_finite
from fairseq_parp.export.targets import TARGETS, Target
from fairseq_parp.files import writing_to

HALF_TOLERANCE = 2e-2
"""Outputs of a file in half precision differ by at most so much, relative to outputs above 1."""


@dataclass(frozen=True)
class Exported:
    """A checked export.

    Attributes:
        folder: the written folder.
        differences: the largest difference of outputs, by comparison.
        zeros: zeros among the checkpoint's tensors; the export has the same.
        lost: the content that the export lacks, one line each.
    """

    folder: Path
    differences: Mapping[str, float]
    zeros: int
    lost: Sequence[str]


def export(
    checkpoint: str | Path,
    target: str,
    out: str | Path,
    audio: Sequence[str | Path] = (),
    *,
    results: Sequence[str | Path] = (),
    force: bool = False,
    fp16: bool = False,
    progress: Callable[[str], None] = lambda _step: None,
) -> Exported:
    """Export a checkpoint, finetuned or pretrained, and check the export.

    Args:
        checkpoint: fairseq checkpoint of a wav2vec 2.0, HuBERT or data2vec audio model.
        target: a key of :data:`~fairseq_parp.export.targets.TARGETS`.
        out: folder to make.
        audio: audio files for the comparison; by default three sentences of the demo's voice.
        results: files that fairseq-generate wrote of the checkpoint, for the error rates in the model card.
        force: replace an existing ``out``.
        fp16: store half precision; for ``compact`` alone.
        progress: function that is called with the name of each step before it.

    Raises:
        AudioError: an audio file cannot be used.
        CheckpointError: the checkpoint cannot be read or exported.
        ConfigError: the target does not exist or has no fp16, or the folder is there.
        ExportError: the export differs from the checkpoint; no folder remains.
        MissingToolError: a library of the target is not installed.
        ResultsError: a file of ``results`` is no output of fairseq-generate.
    """
    if target not in TARGETS:
        raise ConfigError("--to", target, f"must be one of {', '.join(TARGETS)}")
    if fp16 and target != "compact":
        raise ConfigError("--fp16", target, "is for --to compact")
    folder = Path(out)
    if folder.exists() and not (force and folder.is_dir()):
        raise ConfigError(
            "--out", str(out), f"{absolute(folder)} exists already; name another, or a folder with --force"
        )
    module = importlib.import_module(f"fairseq_parp.export.to_{target}")
    progress("reading the checkpoint")
    rates = scored(results)
    source = Source.open(checkpoint)
    _require_no_classifier(source)
    require_finite(absolute(source.path), source.tensors)
    source = source.halved() if fp16 else source
    utterances = check_audio(audio, source.sample_rate, source.shortest)
    source.model.eval()  # a checkpoint that no model can be built of is refused under its own name
    with _replacing(folder) as place:
        progress(f"writing for {target}")
        lost = module.write(source, place)
        progress("comparing tensors and outputs")
        zeros = _require_equal(source.tensors, module.stored(source, place))
        promise = TARGETS[target]._replace(tolerance=HALF_TOLERANCE) if fp16 else TARGETS[target]
        found = _compared(source, promise, lambda batches: module.outputs(source, place, batches), utterances)
        changed = None if TARGETS[target].alone else changed_texts(source, utterances)
        (place / "README.md").write_text(card(source, target, found, lost, changed, rates), encoding="utf-8")
    return Exported(folder, found, zeros, lost)


def _require_no_classifier(source: Source) -> None:
    if (task := task_of(source.state)).endswith(("audio_classification", "sentence_prediction")):
        reason = f"its task {task} gives a label for each input; only CTC and pretrained speech models are exported"
        raise CheckpointError(absolute(source.path), reason)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the name ``folder`` when the block ends without an error."""
    place = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir()
    try:
        yield place
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.old")
            folder.rename(old)
            place.rename(folder)
            shutil.rmtree(old)
        else:
            place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _require_equal(ours: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> int:
    """Check that every tensor that was written is the checkpoint's, zeros included, and return the count of zeros."""
    for name, value in stored.items():
        if not value.equal(ours[name].to(value.dtype)):
            raise ExportError(f"the exported tensor of {name} is not the checkpoint's")
    return sum(int((value == 0).sum()) for value in stored.values())


def _compared(
    source: Source,
    target: Target,
    theirs: Callable[[Sequence[Batch]], list[Tensor]],
    utterances: Sequence[Tensor],
) -> dict[str, float]:
    """Return the largest difference of outputs: an utterance alone, and a padded batch.

    Raises:
        ExportError: one is above the tolerance.
    """
    batches = {"one utterance": batch(utterances[:1], source.normalize)}
    if len(utterances) > 1 and (target.alone or source.encoder.family != "hubert"):
        # stock HuBERT counts the frames of a padded utterance otherwise than transformers does
        batches[f"padded batch of {len(utterances)}"] = batch(utterances, source.normalize)
    expected = source.outputs_alone if target.alone else source.outputs
    found = {}
    for (name, each), their in zip(batches.items(), theirs(list(batches.values())), strict=True):
        ours = expected(each.audio, each.padding)
        if ours.shape != their.shape:
            raise ExportError(
                f"{name}: outputs of shape {tuple(their.shape)}, the checkpoint's are {tuple(ours.shape)}"
            )
        real = _real(source, each, ours)
        found[name] = float((ours - their).abs().amax(-1)[real].max())
        # a difference of log-probabilities is relative already
        largest = 1.0 if target.alone and source.finetuned else max(1.0, float(ours[real].abs().max()))
        allowed = target.tolerance * largest
        if not found[name] <= allowed:
            raise ExportError(
                f"{name}: outputs differ by {found[name]:.3g}, allowed are {allowed:.3g}; nothing was written"
            )
    return found


def changed_texts(source: Source, utterances: Sequence[Tensor]) -> tuple[int, int] | None:
    """Return how many utterances of a padded batch have another greedy text than alone, and of how many.

    That is so where stock fairseq's and transformers' group norm averages over padding.

    Returns:
        None if outputs do not depend on the batch, or have no text.
    """
    if source.encoder.layer_norms or not source.finetuned or len(utterances) == 1:
        return None
    together = batch(utterances, source.normalize)
    outputs = source.outputs(together.audio, together.padding)
    changed = 0
    for row, real, each in zip(outputs, _real(source, together, outputs), utterances, strict=True):
        alone = source.outputs(batch([each], source.normalize).audio, None)[0]
        changed += _labels(row[real]) != _labels(alone)
    return changed, len(utterances)


def _labels(outputs: Tensor) -> list[int]:
    """Return the greedy labels of (T, C) outputs; the blank is 0."""
    return [label for label in outputs.argmax(-1).unique_consecutive().tolist() if label]


def _real(source: Source, of: Batch, outputs: Tensor) -> Tensor:
    """Return (B, T) which frames are of an utterance, not of the padding."""
    lengths = of.lengths
    for _, kernel, stride in source.encoder.convolutions:
        lengths = (lengths - kernel) // stride + 1
    frames: Tensor = outputs.new_ones(outputs.shape[:2]).cumsum(1) <= lengths[:, None]
    return frames
