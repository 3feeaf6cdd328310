"""``fairseq-parp images digits``: pictures for a corpus of spoken digits."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("corpus", metavar="CORPUS", help="table or folder, as for manifest table; split test in it")
    parser.add_argument(
        "--out", metavar="DIR", type=OutputFolder, required=True, help="folder for pictures and transcripts.tsv"
    )
    parser.add_argument(
        "--unseen",
        metavar="SPLIT",
        default="test",
        help="split whose strings and handwriting no other split gets (default: test)",
    )
    parser.add_argument("--digits", metavar="N", type=int, help="keep strings of N digits only")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="seed of the handwriting (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Draw the pictures."""
    from fairseq_parp.demo.digits import ATTRIBUTION, write_digits

    unseen, digits, seed = arguments.unseen, arguments.digits, arguments.seed
    counts = write_digits(arguments.corpus, arguments.out, unseen=unseen, count=digits, seed=seed)
    found = ", ".join(f"{split} {count}" for split, count in counts.items())
    print(f"strings of digits: {found}: {absolute(arguments.out)}\n{ATTRIBUTION}")
    return 0
