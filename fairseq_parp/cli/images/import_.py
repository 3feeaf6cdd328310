"""``fairseq-parp images import``: features from an array."""

from __future__ import annotations

import argparse

from fairseq_parp.cli.outputs import OutputFile
from fairseq_parp.errors import ConfigError, absolute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument(
        "array",
        metavar="ARRAY",
        nargs="+",
        help=".npy, or .npz with features and optionally ids and boxes; or all of LXMERT's .tsv files",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=OutputFile, required=True, help="DATA/images.safetensors"
    )
    parser.add_argument("--encoder", metavar="NAME", required=True, help="name of the image encoder of the features")
    parser.add_argument(
        "--ids",
        metavar="FILE",
        nargs="+",
        default=[],
        help="one id a line in the order of the rows; or .json: SpokenCOCO's list, or the row of each id; "
        "of .tsv files: the pictures to take",
    )
    parser.add_argument("--boxes", metavar="NPY", help="boxes of the regions, as fractions of width and height")
    parser.add_argument("--frames", action="store_true", help="the regions are the frames of clips, at even times")


def run(arguments: argparse.Namespace) -> int:
    """Write the features."""
    from fairseq_parp.grounded.importing import import_features
    from fairseq_parp.grounded.regions import import_regions

    sources, out, encoder, ids = arguments.array, arguments.output, arguments.encoder, arguments.ids
    if all(source.endswith(".tsv") for source in sources):
        if arguments.boxes or arguments.frames:
            key, value = ("--boxes", arguments.boxes) if arguments.boxes else ("--frames", True)
            raise ConfigError(key, value, "goes with an array; LXMERT's files have boxes of regions")
        count, regions, width = import_regions(sources, out, encoder, ids)
    elif len(sources) > 1:
        raise ConfigError("ARRAY", " ".join(sources), "must be one .npy or .npz, or files .tsv alone")
    else:
        count, regions, width = import_features(sources[0], out, encoder, ids, arguments.boxes, arguments.frames)
    print(f"{count} pictures, {regions} x {width} each by {arguments.encoder}: {absolute(arguments.output)}")
    return 0
