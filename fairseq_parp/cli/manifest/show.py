"""What the actions of ``fairseq-parp manifest`` print."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fairseq_parp.errors import absolute
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.building import Written
from fairseq_parp.manifests.corpora.official import WrittenOfficial

SHOWN = 100
"""Symbols of a dictionary that are printed, the most frequent first."""


def refuse(problems: list[str]) -> int:
    """Print problems and their number to standard error; return the exit status for them."""
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"fairseq-parp manifest: {len(problems)} problem(s)", file=sys.stderr)
    return 1


def size(split: str, utterances: int, frames: int) -> str:
    """Return one line about a split; frames are samples at 16 kHz."""
    seconds = frames / RATE
    duration = f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    return f"{split}: {utterances} utterances, {duration}"


def tell(written: Written, out: Path) -> None:
    """Print what was written, and where."""
    for split, utterances in written.splits.items():
        print(size(split, len(utterances), sum(utterance.frames for utterance in utterances)))
    more = f" ... ({len(written.symbols) - SHOWN} more)" if len(written.symbols) > SHOWN else ""
    print(f"{len(written.symbols)} symbols: {' '.join(list(written.symbols)[:SHOWN])}{more}")
    print(f"written to {absolute(out)}")


def tell_official(written: WrittenOfficial, out: Path) -> None:
    """Print what was written, and how it compares with what was published."""
    tell(written, out)
    if written.checked:
        print(f"as published, ids and length: {' '.join(written.checked)}")
    if written.unconfirmed:
        print(f"which utterances are in them is unconfirmed: {' '.join(written.unconfirmed)}")
    if written.unchecked:
        print(f"no fact to compare with: {' '.join(written.unchecked)}")
    warn(written.warnings)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings to standard error."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
