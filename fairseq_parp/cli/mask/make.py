"""``fairseq-parp mask make``: a mask for the model in a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.mask_files import CRITERIA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="fairseq checkpoint, pretrained or finetuned")
    parser.add_argument("--sparsity", metavar="S", type=float, required=True, help="fraction of zeros, in [0, 1)")
    parser.add_argument("-o", "--out", metavar="FILE", type=OutputFile, required=True, help="mask file to write")
    parser.add_argument("--by", choices=CRITERIA, default="magnitude", help="criterion of pruning (default: magnitude)")
    parser.add_argument(
        "--allocation", metavar="NAME", default="global", help="division of the zeros among tensors (default: global)"
    )
    parser.add_argument(
        "--scope",
        metavar="NAME",
        nargs="+",
        help="paper, ffn, or names and regular expressions of parameters (default: paper)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="seed of random and random-init (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Make and write the mask."""
    from fairseq_parp.cli.tables import line  # here, so that --help needs no torch
    from fairseq_parp.mask_files.counts import zeros_of
    from fairseq_parp.mask_files.making import make_mask
    from fairseq_parp.sparsity.allocation import ALLOCATIONS

    if arguments.allocation not in ALLOCATIONS:
        raise ConfigError("--allocation", arguments.allocation, f"must be one of {', '.join(ALLOCATIONS)}")
    if not 0 <= arguments.sparsity < 1:
        raise ConfigError("--sparsity", arguments.sparsity, "must be a number in [0, 1)")
    mask = make_mask(
        arguments.checkpoint,
        arguments.sparsity,
        arguments.by,
        scope=arguments.scope or "paper",
        allocation=arguments.allocation,
        seed=arguments.seed,
    )
    mask.save(arguments.out, by=arguments.by, source=absolute(arguments.checkpoint))
    print(f"{line(zeros_of(mask).overall)}\nwritten to {absolute(arguments.out)}")
    return 0
