"""``fairseq-parp images embed``: features of a folder's pictures or clips."""

from __future__ import annotations

import argparse
from functools import partial

from tqdm import tqdm

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="pictures in or below it; their relative paths are their ids")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=OutputFile, required=True, help="DATA/images.safetensors"
    )
    parser.add_argument("--frames", metavar="N", type=int, help="each folder is a clip: take N frames of it")


def run(arguments: argparse.Namespace) -> int:
    """Make the features."""
    from fairseq_parp.grounded.efficientnet import CELLS, NAME, WIDTH
    from fairseq_parp.grounded.embedding import embed_folder

    frames, bar = arguments.frames, partial(tqdm, unit="batch", disable=None)
    count = embed_folder(arguments.folder, arguments.output, frames, bar)
    made = f"{count} pictures, {CELLS}" if frames is None else f"{count} clips, {frames}"
    print(f"{made} x {WIDTH} each by {NAME}: {absolute(arguments.output)}")
    return 0
