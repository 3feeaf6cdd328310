"""``fairseq-parp images import``: features from an array."""

from __future__ import annotations

import argparse

from fairseq_parp.errors import absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("array", metavar="ARRAY", help=".npy, or .npz with features and optionally ids and boxes")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="such as DATA/images.safetensors")
    parser.add_argument("--encoder", metavar="NAME", required=True, help="name of the image encoder of the features")
    parser.add_argument(
        "--ids",
        metavar="FILE",
        help="one id a line in the order of the rows; or .json: SpokenCOCO's list, or the row of each id",
    )
    parser.add_argument("--boxes", metavar="NPY", help="boxes of the regions, as fractions of width and height")
    parser.add_argument("--frames", action="store_true", help="the regions are the frames of clips, at even times")


def run(arguments: argparse.Namespace) -> int:
    """Write the features."""
    from fairseq_parp.grounded.importing import import_features

    given = (arguments.array, arguments.output, arguments.encoder, arguments.ids, arguments.boxes, arguments.frames)
    count, regions, width = import_features(*given)
    print(f"{count} pictures, {regions} x {width} each by {arguments.encoder}: {absolute(arguments.output)}")
    return 0
