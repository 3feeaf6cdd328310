"""``fairseq-parp verify``: check step by step, in about a minute, that a pretrained file works here."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's argument."""
    parser.add_argument(
        "checkpoint", metavar="FILE", help="a pretrained checkpoint of wav2vec 2.0, HuBERT or data2vec audio"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print each step as it succeeds; the one that fails ends the command in one line."""
    from fairseq_parp.verification import verify  # here, so that --help needs no torch

    for step, finding in verify(arguments.checkpoint):
        print(f"{step:<9}{finding}", flush=True)
    return 0
