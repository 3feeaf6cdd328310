"""Makes items from a manifest: a finetuned model aligns the labels with the audio."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fairseq_parp.decoding.lattice import Lattice
from fairseq_parp.errors import ItemError, absolute
from fairseq_parp.manifests.items import Item
from fairseq_parp.manifests.reading import Entry, read_labels, read_manifest
from fairseq_parp.scoring import ErrorRate, error_rate
from fairseq_parp.transcription.transcriber import Transcriber

BOUNDARY, EDGE = "|", "SIL"
"""The label between words, which is no token; and the phone beside the first and the last token of an utterance."""

Progress = Callable[[Iterable[tuple[Entry, str]]], Iterable[tuple[Entry, str]]]


class Aligned(NamedTuple):
    """Items, and how good the model is that aligned them.

    Attributes:
        items: the tokens.
        uer: the model's greedy UER on the same utterances, in per cent.
        confidence: mean probability of a label in the frame where it begins.
        skipped: utterances of more labels than frames.
    """

    items: list[Item]
    uer: float
    confidence: float
    skipped: int


def align(
    checkpoint: str | Path, data: str | Path, split: str, labels: str, speaker: str, progress: Progress = iter
) -> Aligned:
    """Align every utterance of a split by the most probable path through its labels.

    A token reaches half way to the tokens beside it, as CTC emits a label in few of its frames.

    Args:
        checkpoint: finetuned on the same labels.
        data: folder with ``SPLIT.tsv`` and ``SPLIT.<labels>``.
        split: name of it.
        labels: kind of labels, ``ltr`` or ``phn``.
        speaker: regular expression that finds the speaker in an utterance's path, its only group.
        progress: wraps the utterances.

    Raises:
        ItemError: the files do not fit, or an utterance has no speaker or a label that the model lacks.
        CheckpointError, AudioError: a file cannot be read.
    """
    manifest, lines = read_manifest(Path(data) / f"{split}.tsv"), read_labels(Path(data) / f"{split}.{labels}")
    if problems := (*manifest.problems, *lines.problems):
        raise ItemError(problems[0])
    if len(lines.lines) != len(manifest.entries):
        raise ItemError(f"{lines.file}: {len(lines.lines)} lines for {len(manifest.entries)} utterances")
    transcriber = Transcriber(checkpoint)
    dictionary = transcriber.dictionary
    items: list[Item] = []
    certain: list[float] = []
    errors, skipped = ErrorRate(0, 0, 0, 0), 0
    for entry, line in progress(list(zip(manifest.entries, lines.lines, strict=True))):
        symbols = line.split()
        if missing := [symbol for symbol in symbols if dictionary.index(symbol) == dictionary.unk()]:
            raise ItemError(f"{lines.file}, line {entry.line - 1}: the model has no label {missing[0]}")
        log_probs = transcriber.log_probs(Path(manifest.root) / entry.path).double()
        targets = torch.tensor([dictionary.index(symbol) for symbol in symbols])
        heard = log_probs.argmax(-1).unique_consecutive()
        errors += error_rate(symbols, [dictionary[label] for label in heard.tolist() if label != dictionary.bos()])
        if (starts := _starts(log_probs, targets, dictionary.bos())) is None:
            skipped += 1
            continue
        certain += log_probs[starts, targets].exp().tolist()
        who = _speaker(speaker, entry, manifest.file)
        items += _items(Path(entry.path).stem, who, symbols, starts.tolist(), transcriber.seconds, len(log_probs))
    confidence = sum(certain) / len(certain) if certain else 0.0
    return Aligned(items, errors.percent, confidence, skipped)


def _starts(log_probs: Tensor, targets: Tensor, blank: int) -> Tensor | None:
    """Return the frame in which each label begins; None if the frames are fewer than a path needs."""
    repeats = int((targets[1:] == targets[:-1]).sum())
    if len(targets) + repeats > len(log_probs):
        return None
    return Lattice(log_probs[None], targets[None, None], torch.tensor([[len(targets)]]), blank).align()[0, 0]


def _speaker(expression: str, entry: Entry, file: Path) -> str:
    found = re.search(expression, entry.path)
    if found is None or not found.groups() or not found[1]:
        raise ItemError(
            f"{absolute(file)}, line {entry.line}: --speaker {expression!r} matches no speaker in {entry.path!r}"
        )
    return found[1]


def _items(
    file: str, speaker: str, symbols: Sequence[str], starts: Sequence[int], seconds: float, frames: int
) -> Iterator[Item]:
    """Yield the tokens of an utterance, word boundaries left out, which count as context no more than silence does."""
    middles = [(one + other + 1) / 2 for one, other in itertools.pairwise(starts)]
    edges = [max(0.0, 2 * starts[0] - middles[0] + 1) if middles else 0.0, *middles, 0.0]
    edges[-1] = min(float(frames), 2 * starts[-1] - edges[-2] + 1) if middles else float(frames)
    around = [EDGE, *(EDGE if symbol == BOUNDARY else symbol for symbol in symbols), EDGE]
    for number, symbol in enumerate(symbols):
        onset, offset = (round(edge * seconds, 4) for edge in edges[number : number + 2])
        if symbol != BOUNDARY and offset > onset:
            yield Item(file, onset, offset, symbol, around[number], around[number + 2], speaker)
