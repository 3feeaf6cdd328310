"""``fairseq-parp demo``: PARP beside dense on synthetic speech, or speech with pictures; the real fairseq commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFolder
from fairseq_parp.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--out", type=OutputFolder, metavar="DIR", help="output folder (default: outputs/demo; outputs/demo_grounded)"
    )
    parser.add_argument(
        "--seed", metavar="S", type=int, help="seed of the scenes and the training of --grounded (default: 1)"
    )
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--from-random", action="store_true", help="start from random instead of pretrained weights")
    other.add_argument("--pretrain", action="store_true", help="pretrain the checkpoint; do not finetune")
    other.add_argument("--grounded", action="store_true", help="train on spoken captions of drawn pictures; retrieve")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo."""
    if arguments.grounded:
        from fairseq_parp.demo import grounded

        seed = 1 if arguments.seed is None else arguments.seed
        if seed < 0:
            raise ConfigError("--seed", seed, "must be 0 or more")
        grounded.demo(arguments.out or Path("outputs/demo_grounded"), seed=seed)
        return 0
    if arguments.seed is not None:
        raise ConfigError("--seed", arguments.seed, "goes with --grounded; this demo has one seed")
    from fairseq_parp.demo.run import demo, pretrain  # here, so that --help needs neither torch nor matplotlib

    out = arguments.out or Path("outputs/demo")
    if arguments.pretrain:
        pretrain(out)
    else:
        demo(out, from_random=arguments.from_random)
    return 0
