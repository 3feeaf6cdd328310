"""``fairseq-parp manifest``: build and check the data folders that fairseq trains on.

One entry of :data:`ACTIONS` per kind of corpus or task. Problems with the data go to standard error,
all of them, one line each, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fairseq_parp.errors import ManifestError, absolute, listing
from fairseq_parp.manifests.audio import RATE
from fairseq_parp.manifests.checking import check_folder
from fairseq_parp.manifests.labelling import LABELLERS
from fairseq_parp.manifests.table import Written, write_table


class Action(NamedTuple):
    """A word after ``manifest``: its summary, its arguments, and what runs it (returns the exit status)."""

    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        action.add_arguments(actions.add_parser(name, help=action.summary, description=action.summary))


def run(arguments: argparse.Namespace) -> int:
    """Run one action; return 0, or 1 if the data has problems."""
    try:
        return ACTIONS[arguments.action].run(arguments)
    except ManifestError as error:
        return _refuse(error.problems)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "transcripts", metavar="TRANSCRIPTS.tsv", type=Path, help="columns path, text, optionally split, speaker"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write to")
    parser.add_argument("--labels", choices=sorted(LABELLERS), default="ltr", help="letters of the text, or phones")
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="what paths are relative to (default: the table's folder)"
    )
    parser.add_argument(
        "--valid-speakers", metavar="N", type=int, default=0, help="move N random speakers from train to valid"
    )
    parser.add_argument("--minutes", metavar="M", type=float, help="keep at most M random minutes of train")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="of the random choices (default: 1)")


def _table(arguments: argparse.Namespace) -> int:
    written = write_table(
        arguments.transcripts,
        arguments.out,
        labels=arguments.labels,
        root=arguments.root,
        valid_speakers=arguments.valid_speakers,
        minutes=arguments.minutes,
        seed=arguments.seed,
    )
    for split, utterances in written.splits.items():
        print(_size(split, len(utterances), sum(utterance.frames for utterance in utterances)))
    print(f"{len(written.symbols)} symbols: {' '.join(written.symbols)}")
    print(f"written to {absolute(arguments.out)}")
    _tell(written)
    return 0


def _tell(written: Written) -> None:
    if written.valid_speakers:
        print(f"speakers moved from train to valid: {' '.join(written.valid_speakers)}")
    if written.unused:
        print(f"columns not used: {listing(written.unused)}")
    if written.untrained:
        symbols = listing(map(repr, written.untrained))
        print(f"warning: never in train, so no model can learn them: {symbols}", file=sys.stderr)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="data folder, as in task.data")
    parser.add_argument("--labels", metavar="KIND", help="ltr, phn, ... (default: each that has a dictionary)")
    parser.add_argument("--splits", metavar="SPLIT", nargs="+", help="default: every SPLIT.tsv in the folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _check(arguments: argparse.Namespace) -> int:
    reports = check_folder(arguments.folder, arguments.splits, arguments.labels)
    # Splits share a dictionary: its problems are shown once.
    problems = list(dict.fromkeys(problem for report in reports for problem in report.problems))
    if arguments.json:
        print(json.dumps({"splits": [report._asdict() for report in reports], "ok": not problems}, indent=2))
    else:
        for report in reports:
            print(_size(report.split, report.utterances, report.frames))
    return _refuse(problems) if problems else 0


def _refuse(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"fairseq-parp manifest: {len(problems)} problem(s)", file=sys.stderr)
    return 1


def _size(split: str, utterances: int, frames: int) -> str:
    seconds = frames / RATE
    duration = f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    return f"{split}: {utterances} utterances, {duration}"


ACTIONS = {
    "check": Action("check a data folder: files, audio, labels, dictionary", _add_check, _check),
    "table": Action("build manifests from a table of transcripts", _add_table, _table),
}
