"""``fairseq-parp plot``: pictures and a summary of an experiment's results."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("results", metavar="RESULTS", type=Path, help="results table of an experiment (NAME.tsv)")
    parser.add_argument(
        "--out",
        type=OutputFolder,
        metavar="FOLDER",
        help="folder of the pictures (default: RESULTS without .tsv)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the summary and the pictures; print the one, and the paths of all."""
    from fairseq_parp.experiments.plots import draw_all  # here, so that --help needs neither torch nor numpy
    from fairseq_parp.experiments.results import read_results
    from fairseq_parp.experiments.summary import summary
    from fairseq_parp.files import write_whole

    rows, folder = read_results(arguments.results), arguments.results.parent
    out = arguments.out or arguments.results.with_suffix("")
    text = summary(rows, folder)
    write_whole(out / "summary.md", text.encode())
    print(f"{text}\nsummary: {absolute(out / 'summary.md')}")
    for path in draw_all(rows, folder, out):
        print(f"picture: {absolute(path)}", flush=True)
    return 0
