"""``fairseq-parp demo``: PARP beside dense on synthetic speech, with the real fairseq commands."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/demo"), metavar="DIR", help="output folder (default: %(default)s)"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--from-random", action="store_true", help="start from random instead of pretrained weights")
    other.add_argument("--pretrain", action="store_true", help="make the pretrained checkpoint, and finetune nothing")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    from fairseq_parp.demo.run import demo, pretrain  # here, so that --help needs neither torch nor matplotlib

    if arguments.pretrain:
        pretrain(arguments.out)
    else:
        demo(arguments.out, from_random=arguments.from_random)
    return 0
