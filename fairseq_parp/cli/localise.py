"""``fairseq-parp localise``: where in a picture a spoken word is, as a heat map or as the pointing game."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from fairseq_parp.errors import ConfigError, absolute
from fairseq_parp.tables import table

if TYPE_CHECKING:
    from fairseq_parp.retrieval.localising import Localiser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="checkpoint of grounded_pretraining with model.codes")
    parser.add_argument("audio", metavar="WAV", nargs="?", help="a recording")
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="id of a picture in --images")
    parser.add_argument("--images", metavar="FILE", required=True, help="features of pictures with boxes of regions")
    parser.add_argument("--start", metavar="S", type=float, help="second at which the word starts")
    parser.add_argument("--end", metavar="S", type=float, help="second at which the word ends")
    parser.add_argument("--plot", metavar="PNG", help="also draw the heat map")
    parser.add_argument("--picture", metavar="FILE", help="for --plot: the picture to draw it over")
    parser.add_argument("--words", metavar="TSV", help="play the pointing game over the words of this file instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the relevance of each region for a segment, or the hits of the pointing game."""
    one = (arguments.audio, arguments.image, arguments.start, arguments.end)
    if bool(arguments.words) == any(each is not None for each in one) or (not arguments.words and None in one):
        raise ConfigError("WAV", arguments.audio, "name WAV, IMAGE, --start and --end, or --words alone")
    for key, needs in (("plot", arguments.audio), ("picture", arguments.plot)):
        if (given := getattr(arguments, key)) and not needs:
            raise ConfigError(f"--{key}", given, "draws the heat map of one WAV and IMAGE, into --plot")
    from fairseq_parp.grounded.features import Features
    from fairseq_parp.retrieval.loading import load_grounded
    from fairseq_parp.retrieval.localising import Localiser

    localiser = Localiser(load_grounded(arguments.checkpoint), Features(arguments.images))
    return _game(localiser, arguments) if arguments.words else _one(localiser, arguments)


def _one(localiser: Localiser, arguments: argparse.Namespace) -> int:
    from fairseq_parp.retrieval.heat import draw

    found, boxes = localiser.find(arguments.audio, arguments.image, arguments.start, arguments.end)
    if arguments.plot:
        draw(found, boxes, arguments.plot, arguments.picture)
    if arguments.json:
        print(json.dumps({"relevance": found.tolist(), "boxes": boxes.tolist()}))
        return 0
    order = found.argsort(descending=True, stable=True).tolist()
    cells = [(str(row), f"{found[row]:.4f}", *(f"{side:.2f}" for side in boxes[row].tolist())) for row in order]
    print("\n".join(table(["region", "relevance", "left", "top", "right", "bottom"], cells)))
    if arguments.plot:
        print(f"written: {absolute(arguments.plot)}")
    return 0


def _game(localiser: Localiser, arguments: argparse.Namespace) -> int:
    from fairseq_parp.retrieval.localising import point, read_words
    from fairseq_parp.scoring.accuracy import Accuracy

    found = point(localiser, read_words(arguments.words))
    hits = Accuracy(sum(found.hits), len(found.hits))
    low, high = (100 * side for side in hits.interval())
    if arguments.json:
        shown = {"words": hits.total, "hits": hits.correct, "chance": found.chance, "low": low, "high": high}
        print(json.dumps(shown))
    else:
        share = f"{100 * hits.value:.1f} % ({low:.1f} to {high:.1f})"
        print(f"{hits.correct} of {hits.total} words found: {share}; a random region {found.chance:.1f} %")
    return 0
