"""``fairseq-parp mask apply``: a checkpoint with a mask's zeros."""

from __future__ import annotations

import argparse
from pathlib import Path

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.errors import MaskError, absolute
from fairseq_parp.mask_files import ANY_MASK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="fairseq checkpoint, pretrained or finetuned")
    parser.add_argument("mask", metavar="MASK", type=Path, help=ANY_MASK)
    parser.add_argument("-o", "--out", metavar="OUT", type=OutputFile, required=True, help="checkpoint to write")


def run(arguments: argparse.Namespace) -> int:
    """Write the sparse checkpoint."""
    from fairseq_parp.mask_files.applying import apply_mask  # here, so that --help needs no torch
    from fairseq_parp.mask_files.reading import read_mask

    mask = read_mask(arguments.mask)
    try:
        zeros = apply_mask(arguments.checkpoint, mask, arguments.out)
    except MaskError as error:
        raise MaskError(f"{absolute(arguments.mask)}: {error}") from None
    print(f"{zeros:,} weights are zero by the mask\nwritten to {absolute(arguments.out)}")
    return 0
