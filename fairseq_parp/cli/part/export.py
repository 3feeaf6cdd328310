"""``fairseq-parp part export``: a part with MMS's adapters as transformers reads it."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("part", metavar="FILE", type=Path, help="part with an adapter after every layer")
    parser.add_argument("-o", "--out", metavar="FOLDER", type=OutputFolder, required=True, help="folder for both files")


def run(arguments: argparse.Namespace) -> int:
    """Write adapter and vocabulary."""
    from fairseq_parp.parts.mms import export_adapter

    for file in export_adapter(arguments.part, arguments.out):
        print(f"written to {absolute(file)}")
    return 0
