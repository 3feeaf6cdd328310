"""``fairseq-parp part apply``: the finetuned checkpoint from a part and its base."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("base", metavar="BASE", type=Path, help="pretrained checkpoint of the part")
    parser.add_argument("part", metavar="FILE", type=Path, help="part file")
    parser.add_argument("-o", "--out", metavar="CKPT", type=OutputFile, required=True, help="checkpoint to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the checkpoint."""
    from fairseq_parp.parts.applying import apply

    part = apply(arguments.base, arguments.part, arguments.out)
    print(f"{part.language}: {part.content['method']}\nwritten to {absolute(arguments.out)}")
    return 0
