"""``fairseq-parp manifest check``: are all files there that fairseq needs, and do they fit together?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fairseq_parp.cli.manifest.show import refuse, size
from fairseq_parp.manifests.checking import check_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="data folder, as in task.data")
    parser.add_argument("--labels", metavar="KIND", help="ltr, phn, ... (default: each that has a dictionary)")
    parser.add_argument("--splits", metavar="SPLIT", nargs="+", help="default: every SPLIT.tsv in the folder")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check a folder; return 1 if it has problems."""
    reports = check_folder(arguments.folder, arguments.splits, arguments.labels)
    # Splits share a dictionary: its problems are shown once.
    problems = list(dict.fromkeys(problem for report in reports for problem in report.problems))
    if arguments.json:
        print(json.dumps({"splits": [report._asdict() for report in reports], "ok": not problems}, indent=2))
    else:
        for report in reports:
            print(size(report.split, report.utterances, report.frames))
    return refuse(problems) if problems else 0
