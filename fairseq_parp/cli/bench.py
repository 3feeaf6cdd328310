"""``fairseq-parp bench``: speed and memory beside other implementations, on this machine; works in a checkout."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.environment.paths import PLUGIN
from fairseq_parp.errors import ConfigError, MissingToolError, absolute

if TYPE_CHECKING:
    from benchmarks.recordings import Recordings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--only", metavar="NAME", help="only the rows whose name contains this")
    parser.add_argument(
        "--json",
        type=OutputFile,
        default=Path("outputs/bench.json"),
        metavar="FILE",
        help="file for the rows; records (.tsv) and a picture (.png) are written beside it (default: %(default)s)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="print worst and median of the runs recorded in FILE; measure nothing",
    )
    own = parser.add_argument_group("search over words on your own recordings, and nothing else")
    own.add_argument("--split", type=Path, metavar="FOLDER/SPLIT", help="recordings and their letters (.tsv, .ltr)")
    own.add_argument("--checkpoint", type=Path, metavar="CKPT", help="finetuned checkpoint that transcribes them")
    own.add_argument("--lm", metavar="FILE", help="n-gram language model: ARPA file")
    own.add_argument("--lm-weight", type=float, metavar="W", help="weight of log10 probabilities (default 2)")
    own.add_argument("--word-score", type=float, metavar="S", help="score added for each word (default -1)")


def run(arguments: argparse.Namespace) -> int:
    """Measure; the status is 1 where a bar was missed."""
    _find_benchmarks()
    if arguments.table:
        from benchmarks.record import read, table

        print("\n".join(table(read(arguments.table))))
        return 0
    # Threads that wait for work must not use CPU time, which judges. OpenMP reads this when torch is imported.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    from benchmarks.run import bench  # here, so that --help needs neither torch nor matplotlib

    rows = bench(arguments.only, arguments.json, recordings=_recordings(arguments))
    return int(any(row.holds is False for row in rows))


def _find_benchmarks() -> None:
    """Make the checkout's package ``benchmarks`` importable.

    Raises:
        MissingToolError: this is no checkout: pip installs the package without it.
    """
    if not (PLUGIN.parent / "benchmarks" / "run.py").is_file():
        reason = f"the benchmarks come with a checkout of the project, and {absolute(PLUGIN.parent)} is not one"
        raise MissingToolError(f"{reason}; clone the project and run fairseq-parp bench there")
    if str(PLUGIN.parent) not in sys.path:
        sys.path.insert(0, str(PLUGIN.parent))


def _recordings(arguments: argparse.Namespace) -> Recordings | None:
    from benchmarks.recordings import Recordings
    from fairseq_parp.decoding import LanguageModel

    lm = LanguageModel.if_named(arguments.lm, None, arguments.lm_weight, arguments.word_score)
    if lm and arguments.split and arguments.checkpoint:
        return Recordings(arguments.split, arguments.checkpoint, lm)
    for name in ("split", "checkpoint", "lm"):
        if getattr(arguments, name):
            raise ConfigError(
                f"--{name}", str(getattr(arguments, name)), "needs --split, --checkpoint and --lm together"
            )
    return None
