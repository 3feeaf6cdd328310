"""``fairseq-parp manifest union``: several data folders as one."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.manifest.dictionary import add_option, read_option
from fairseq_parp.cli.manifest.show import tell
from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.manifests.labelling import LABELLERS
from fairseq_parp.manifests.union import write_union


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("folders", metavar="DIR", type=Path, nargs="+", help="data folders")
    parser.add_argument("--out", metavar="DIR", type=OutputFolder, required=True, help="folder to write to")
    parser.add_argument("--labels", choices=sorted(LABELLERS), default="ltr", help="kind of labels (default: ltr)")
    add_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the union."""
    kept = read_option(arguments.dictionary)
    tell(write_union(arguments.folders, arguments.out, labels=arguments.labels, symbols=kept), arguments.out)
    return 0
