"""Computes the errors of every layer from a checkpoint, items and audio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fairseq_parp.abx.features import Layers, audio_files, seconds_of, span
from fairseq_parp.abx.scores import Scores, abx, groups_of
from fairseq_parp.errors import ItemError, absolute
from fairseq_parp.files import writing_whole
from fairseq_parp.manifests.items import Item, by_file, read_items

Progress = Callable[[Iterable[Path]], Iterable[Path]]


@dataclass(frozen=True)
class Measured:
    """Errors by layer.

    Attributes:
        layers: errors by the layer's name.
        tokens: those that were compared.
        left_out: those without a frame of their own, or alone in their context.
        speakers: speakers of the tokens that were compared.
        rate: frames a second.
    """

    layers: dict[str, Scores]
    tokens: int
    left_out: int
    speakers: int
    rate: float


def measure(
    checkpoint: str | Path,
    items: str | Path,
    audio: str | Path,
    progress: Progress = iter,
    features: Path | None = None,
) -> Measured:
    """Compute the ABX errors of every layer of a checkpoint.

    Args:
        checkpoint: pretrained or finetuned.
        items: an item file.
        audio: folder of the audio files that it names.
        progress: wraps the files while they are encoded.
        features: folder that gets ``LAYER/FILE.npy``, an array (frames, channels) in float32, for every file of the
            items.

    Raises:
        ItemError: items and audio do not fit, or nothing can be compared.
        CheckpointError, AudioError: a file cannot be read.
    """
    tokens = read_items(items)
    files = by_file(tokens, dict(audio_files(audio)), items, audio)
    for file, numbers in files.items():
        _require_within(tokens, numbers, file, items)
    needed = {n for group in groups_of(tokens) for phones in group.values() for each in phones.values() for n in each}
    if not needed:
        reason = "no two phones have tokens in the same context, so nothing can be compared"
        raise ItemError(f"{absolute(items)}: {reason}")
    layers = Layers(checkpoint)
    found: list[dict[int, NDArray[np.float32]]] = [{} for _ in layers.names]
    for file in progress([file for file, numbers in files.items() if features or needed & set(numbers)]):
        outputs = layers.of(file)
        if features:
            for name, output in zip(layers.names, outputs, strict=True):
                _write(features / name / f"{file.stem}.npy", output.numpy())
        for number in needed & set(files[file]):
            frames = span(tokens[number].onset, tokens[number].offset, layers.rate, len(outputs[0]))
            if frames.start < frames.stop:
                for place, output in zip(found, outputs, strict=True):
                    place[number] = output[frames].numpy()
    groups = groups_of(tokens, lambda number: number in found[0])
    compared = sum(len(each) for group in groups for phones in group.values() for each in phones.values())
    scores = {name: abx(groups, place) for name, place in zip(layers.names, found, strict=True)}
    speakers = {speaker for group in groups for speaker in group}
    return Measured(scores, compared, len(tokens) - compared, len(speakers), layers.rate)


def _write(path: Path, array: NDArray[np.float32]) -> None:
    with writing_whole(path) as file:
        np.save(file, array)


def _require_within(tokens: Sequence[Item], numbers: Sequence[int], file: Path, items: str | Path) -> None:
    seconds = seconds_of(file)
    for number in numbers:
        if tokens[number].offset > seconds + 0.02:
            raise ItemError(
                f"{absolute(items)}, line {number + 2}: ends at {tokens[number].offset:g} s, "
                f"but {file} ends at {seconds:.4g} s"
            )
