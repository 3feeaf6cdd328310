"""The output of the actions of ``fairseq-parp manifest``."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from fairseq_parp.errors import absolute
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.building import Written
from fairseq_parp.manifests.corpora.official import WrittenOfficial

OF_A_KIND = 10
"""Problems of a kind that are printed."""

CAUSES = {
    "no such file": "the audio is elsewhere; --root names its folder for a corpus, line 1 for a manifest",
    "nothing is resampled": "--audio DIR converts them all",
    "not in the dictionary": "labels and dictionary are of two corpora, or case or Unicode form differ",
    "frames here": "the audio was converted or cut after the manifest was written; write the manifest anew",
    "labels need": "text and audio of two corpora, or lines that are shifted against each other",
}
"""The likely cause of many problems of a kind, by a part of their message."""

SHOWN = 100
"""Symbols of a dictionary that are printed, the most frequent first."""


def refuse(problems: list[str]) -> int:
    """Print problems, ten of a kind at the most, and their number to standard error; return the exit status for them.

    Where some are left out, all of them go to a file that is named.
    """
    kinds: dict[str, list[str]] = {}
    for problem in problems:
        kinds.setdefault(_kind(problem), []).append(problem)
    for kind, members in kinds.items():
        for problem in members[:OF_A_KIND]:
            print(problem, file=sys.stderr)
        if len(members) > OF_A_KIND:
            print(f"... and {len(members) - OF_A_KIND} more of this kind{_cause(kind)}", file=sys.stderr)
    everything = "" if all(len(members) <= OF_A_KIND for members in kinds.values()) else f", all in {_kept(problems)}"
    print(f"fairseq-parp manifest: {len(problems)} problem(s){everything}", file=sys.stderr)
    return 1


def _kind(problem: str) -> str:
    """Return the kind of a problem: its message without names, values and numbers."""
    return re.sub(r"'[^']*'|\S*[/\d.]\S*", "", problem)


def _cause(kind: str) -> str:
    return next((f": {cause}" for symptom, cause in CAUSES.items() if symptom in kind), "")


def _kept(problems: list[str]) -> str:
    """Write all problems to a new file; return its path."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="fairseq-parp-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.writelines(f"{problem}\n" for problem in problems)
    return file.name


def size(split: str, utterances: int, frames: int) -> str:
    """Return one line about a split; frames are samples at 16 kHz."""
    seconds = frames / RATE
    duration = f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    return f"{split}: {utterances} utterances, {duration}"


def tell(written: Written, out: Path) -> None:
    """Print the written splits and their folder."""
    for split, utterances in written.splits.items():
        print(size(split, len(utterances), sum(utterance.frames for utterance in utterances)))
    more = f" ... ({len(written.symbols) - SHOWN} more)" if len(written.symbols) > SHOWN else ""
    print(f"{len(written.symbols)} symbols: {' '.join(list(written.symbols)[:SHOWN])}{more}")
    print(f"written to {absolute(out)}")


def tell_official(written: WrittenOfficial, out: Path) -> None:
    """Print the written splits, and their comparison with the published facts."""
    tell(written, out)
    if written.checked:
        print(f"ids and length as published: {' '.join(written.checked)}")
    if written.unconfirmed:
        print(f"lists of utterances not confirmed: {' '.join(written.unconfirmed)}")
    if written.unchecked:
        print(f"no published facts for: {' '.join(written.unchecked)}")
    warn(written.warnings)


def warn(warnings: Iterable[str]) -> None:
    """Print warnings to standard error."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
