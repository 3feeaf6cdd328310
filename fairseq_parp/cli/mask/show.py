"""``fairseq-parp mask show``: sparsity of a mask, overall, per layer and per kind of module."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fairseq_parp.errors import absolute
from fairseq_parp.mask_files import ANY_MASK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("mask", metavar="MASK", type=Path, help=ANY_MASK)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Print the mask's sparsity."""
    from fairseq_parp.cli.tables import line, table
    from fairseq_parp.mask_files.counts import zeros_in

    zeros = zeros_in(arguments.mask)
    if arguments.json:
        print(json.dumps({"path": absolute(arguments.mask), **zeros.to_json()}, indent=2))
    else:
        print("\n".join([line(zeros.overall), "", *table("layer", zeros.layers), "", *table("kind", zeros.kinds)]))
    return 0
