"""``fairseq-parp bench``: how fast this is beside others, on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--only", metavar="NAME", help="only the rows whose name contains this")
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("outputs/bench.json"),
        metavar="FILE",
        help="where the rows go, with a picture (.png) beside them (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure; the status tells whether every bar was kept that could be judged."""
    from fairseq_parp.bench.run import bench  # here, so that --help needs neither torch nor matplotlib

    return int(any(row.holds is False for row in bench(arguments.only, arguments.json)))
