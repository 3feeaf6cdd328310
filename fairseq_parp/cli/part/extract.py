"""``fairseq-parp part extract``: the changes of a finetuning to its pretrained model, as a small file."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.cli.part.show import render
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="finetuned checkpoint")
    parser.add_argument("-o", "--out", metavar="FILE", type=OutputFile, required=True, help="part to write")
    parser.add_argument("--base", metavar="FILE", type=Path, help="pretrained checkpoint (default: its model.w2v_path)")
    parser.add_argument("--language", metavar="NAME", help="name of the part (default: FILE without its ending)")


def run(arguments: argparse.Namespace) -> int:
    """Write the part, and show it."""
    from fairseq_parp.parts.extracting import extract

    part = extract(arguments.checkpoint, arguments.out, arguments.base, arguments.language)
    print(f"{render(part)}\nwritten to {absolute(arguments.out)}: {arguments.out.stat().st_size:,} bytes")
    return 0
